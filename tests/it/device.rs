//! The device through the program: energy from counters that a test turns, memory limits, hardware, what `doctor` says, devices that are
//! not there.

use crate::support::{program, stderr, stdout};
use routergym_local::nn::testing::{Family, Stored, write_checkpoint};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// A model of a few layers.
fn tiny(folder: &Path) -> PathBuf {
    let path = folder.join("tiny.gguf");
    write_checkpoint(&path, Family::Qwen2, Stored::Q8_0, 1).unwrap();
    path
}

fn run(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = program();
    command.env("ROUTERGYM_MODELS", folder.join("store")).args(arguments).args(["--offline", "-q"]);
    command.output().unwrap()
}

fn json(output: &Output) -> Value {
    assert_eq!(output.status.code(), Some(0), "{}", stderr(output));
    serde_json::from_str(stdout(output).trim()).unwrap()
}

/// Fails with this status and one clear sentence that holds the parts.
fn refused(output: &Output, status: i32, parts: &[&str]) {
    let told = stderr(output);
    assert_eq!(output.status.code(), Some(status), "{told}");
    assert_eq!(told.trim().lines().count(), 1, "{told}");
    for part in parts {
        assert!(told.contains(part), "{part} is not in {told}");
    }
}

/// A counter of a machine that takes ten watts whatever it does, and that wraps around after half a second, and every six seconds from then on.
struct Counter {
    stop: Arc<AtomicBool>,
    turning: Option<JoinHandle<()>>,
}

const RANGE: u64 = 60_000_000;
const STEP: Duration = Duration::from_millis(5);

impl Counter {
    fn turn(sys: &Path) -> Self {
        let zone = sys.join("class/powercap/intel-rapl:0");
        fs::create_dir_all(&zone).unwrap();
        fs::write(zone.join("name"), "package-0\n").unwrap();
        fs::write(zone.join("max_energy_range_uj"), format!("{RANGE}\n")).unwrap();
        let write = move |value: u64| {
            // In one step, so that no reader finds half a number.
            fs::write(zone.join("next"), format!("{value}\n")).unwrap();
            fs::rename(zone.join("next"), zone.join("energy_uj")).unwrap();
        };
        write(RANGE - 5_000_000);
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let turning = std::thread::spawn(move || {
            let clock = routergym_local::clock::Clock::real();
            let start = clock.now();
            while !stopped.load(Ordering::SeqCst) {
                write((RANGE - 5_000_000 + (clock.since(start).0 * 1e7) as u64) % RANGE);
                std::thread::sleep(STEP);
            }
        });
        Self { stop, turning: Some(turning) }
    }
}

impl Drop for Counter {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(turning) = self.turning.take() {
            let _ = turning.join();
        }
    }
}

#[test]
fn speed_counts_energy_over_wrap_arounds_and_takes_the_resting_machine_off() {
    let folder = tempfile::tempdir().unwrap();
    let model = tiny(folder.path());
    let sys = folder.path().join("sys");
    let _counter = Counter::turn(&sys);
    let mut command = program();
    command.env("ROUTERGYM_MODELS", folder.path().join("store")).env("ROUTERGYM_SYSFS", &sys);
    command.args(["speed", "--offline", "--threads", "1", "--device", "cpu", "-p", "512", "-d", "512", "-n", "64"]);
    command.args(["-r", "2", "--min-duration", "4", "--shared", "none", "--json", "--model"]).arg(&model);
    let all = json(&command.output().unwrap());
    let energy = &all["energy"];
    assert_eq!(energy["source"]["basis"], "measured", "{energy}");
    assert_eq!(energy["source"]["counters"], serde_json::json!(["package-0"]));
    let watts = energy["source"]["idle_watts"].as_f64().unwrap();
    assert!((8.0..12.0).contains(&watts), "{watts} W at rest");
    // At ten watts a token takes ten joules a second by its time.
    let rate = all["prefill"][0]["tokens_per_s"].as_f64().unwrap();
    let joules = energy["joules_per_prompt_token"].as_f64().unwrap();
    assert!((0.5..2.0).contains(&(joules * rate / 10.0)), "{joules} J a token at {rate} tokens/s");
    let above = energy["joules_per_prompt_token_above_idle"].as_f64().unwrap();
    assert!(
        above.abs() < 0.5 * joules,
        "a machine that always takes the same takes nothing above its rest: {above} of {joules}"
    );
    assert!(all["prefill"][0]["spread"]["n"].as_u64().unwrap() > 2, "rounds went on for four seconds");
}

#[test]
fn energy_that_cannot_be_counted_is_told_and_estimated_only_from_a_given_power() {
    let folder = tempfile::tempdir().unwrap();
    let model = tiny(folder.path());
    let speed = |more: &[&str]| {
        let mut command = program();
        command.env("ROUTERGYM_MODELS", folder.path().join("store")).env("ROUTERGYM_SYSFS", folder.path());
        command.args(["speed", "--offline", "--threads", "1", "--device", "cpu", "-p", "64", "-d", "0", "-n", "2"]);
        command.args(["-r", "1", "--shared", "none", "--json", "--model"]).arg(&model).args(more);
        command.output().unwrap()
    };
    let none = json(&speed(&[]));
    assert!(none["energy"]["source"]["basis"].is_null() && none["energy"]["joules_per_output_token"].is_null());
    assert!(none["energy"]["reason"].as_str().unwrap().contains("no RAPL counters"), "{}", none["energy"]);
    let given = json(&speed(&["--watts", "20"]));
    assert_eq!(given["energy"]["source"]["basis"], "estimated");
    assert!(given["energy"]["joules_per_output_token"].as_f64().unwrap() > 0.0);
    assert!(given["energy"]["joules_per_output_token_above_idle"].is_null());
    refused(&speed(&["--watts", "0"]), 2, &["--watts", "above 0"]);
}

#[test]
fn the_memory_that_the_headers_predict_is_that_of_the_process() {
    let folder = tempfile::tempdir().unwrap();
    let model = tiny(folder.path());
    let model = model.to_str().unwrap();
    let arguments =
        ["speed", "--threads", "1", "-p", "4096", "-d", "4096", "-n", "4", "-r", "1", "--shared", "none", "--json"];
    let all = json(&run(folder.path(), &[&arguments[..], &["--model", model]].concat()));
    let memory = &all["memory"];
    // 3 layers, keys and values of 2 heads of 16 numbers of 4 bytes.
    assert_eq!(memory["kv_bytes_per_token"], 3 * 2 * 2 * 16 * 4);
    assert_eq!(memory["cached_tokens"], 4096 + 4096 + 64);
    assert!(memory["predicted_peak_bytes"].as_u64() > memory["weight_bytes"].as_u64());
    if cfg!(target_os = "linux") {
        let share = memory["predicted_over_measured"].as_f64().unwrap();
        assert!((0.3..3.0).contains(&share), "{memory}");
    }
}

#[test]
fn a_memory_limit_refuses_what_cannot_fit_before_it_is_loaded_and_says_what_would() {
    let folder = tempfile::tempdir().unwrap();
    let model = tiny(folder.path());
    let model = model.to_str().unwrap();
    let parts = ["--memory-limit 25.0 MB does not hold tiny", "of the known models"];
    let depths = ["-p", "16", "-d", "0", "-n", "1", "-r", "1", "--shared", "none"];
    let speed = |limit: &str, more: &[&str]| {
        run(folder.path(), &[&["speed", "--model", model, "--memory-limit", limit][..], &depths, more].concat())
    };
    refused(&speed("25MB", &[]), 2, &parts[..1]);
    assert_eq!(speed("200MB", &[]).status.code(), Some(0));
    refused(
        &speed("200MB", &["-p", "16,1500", "--batch", "256", "-d", "30000"]),
        2,
        &["does not hold tiny", "tokens of"],
    );
    let unread = speed("many", &[]);
    assert_eq!(unread.status.code(), Some(2));
    assert!(stderr(&unread).contains("512MiB"), "{}", stderr(&unread));
    let serve = run(folder.path(), &["serve", "--model", model, "--context", "32000", "--memory-limit", "40MB"]);
    refused(&serve, 2, &["does not hold tiny", "with --context", "it would fit"]);
}

#[test]
fn a_plan_predicts_memory_and_speed_of_models_and_says_whether_they_fit() {
    let folder = tempfile::tempdir().unwrap();
    let model = tiny(folder.path());
    let model = model.to_str().unwrap();
    let doctor = |more: &[&str]| {
        run(
            folder.path(),
            &[&["doctor", "--no-measure", "--threads", "1", "--plan", model, "--json"][..], more].concat(),
        )
    };
    let all = json(&doctor(&["-p", "128"]));
    let plan = &all["plan"][0];
    assert_eq!(
        (&plan["fit"], &plan["layers_timed"], &plan["layers"]),
        (&"fits".into(), &3.into(), &3.into()),
        "{plan}"
    );
    for figure in ["load_s", "ttft_s", "decode_tokens_per_s"] {
        assert!(plan[figure].as_f64().unwrap() > 0.0, "{figure} of {plan}");
    }
    let small = json(&doctor(&["--memory-limit", "20MB"]));
    let plan = &small["plan"][0];
    assert_eq!(plan["fit"], "does not fit");
    assert!(plan["load_s"].is_null() && plan["reason"].as_str().unwrap().contains("does not fit"), "{plan}");
    // Known by their manifests alone, one with its size and one without.
    let absent = ["doctor", "--no-measure", "--memory-limit", "1GB", "--plan", "qwen2.5-coder-1.5b-instruct"];
    let absent = run(folder.path(), &[&absent[..], &["mistral-7b-instruct-v0.3"]].concat());
    let shown = stdout(&absent);
    for part in ["does not fit", "models pull qwen", "not known", "does not tell its size"] {
        assert!(shown.contains(part), "{part} is not in {shown}{}", stderr(&absent));
    }
    refused(&doctor(&["-p", "0"]), 2, &["--prompt-tokens"]);
    refused(&run(folder.path(), &["doctor", "--no-measure", "--plan", "no-such-model"]), 2, &["no-such-model"]);
}

#[test]
fn doctor_says_what_it_found_and_what_that_means() {
    let folder = tempfile::tempdir().unwrap();
    let all = json(&run(folder.path(), &["doctor", "--json"]));
    let findings = all["findings"].as_array().unwrap();
    let names: Vec<_> = findings.iter().map(|finding| finding["name"].as_str().unwrap()).collect();
    for name in
        ["features", "cores", "memory", "clocks", "throttling", "load", "energy", "models", "endpoints", "bandwidth"]
    {
        assert!(names.contains(&name), "{name} is not among {names:?}");
    }
    assert!(findings.iter().all(|finding| finding["found"].is_string() && finding["means"].is_string()));
    assert!(all["measured"]["memory_bytes_per_s"].as_f64().unwrap() > 1e8);
    let kernels = all["measured"]["kernels"].as_array().unwrap();
    assert!(kernels.iter().any(|kernel| kernel["weights"] == "Q4_K"), "{kernels:?}");
    let quiet = json(&run(folder.path(), &["doctor", "--json", "--no-measure"]));
    assert!(quiet["measured"].is_null() && quiet["measured_reason"].is_string());
}

#[test]
fn hardware_is_a_device_by_name_or_the_one_of_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let dry = |hardware: &[&str]| {
        run(
            folder.path(),
            &[&["bench", "--dry-run", "--json", "--llm", "smollm2-135m-instruct"][..], hardware].concat(),
        )
    };
    assert_eq!(dry(&["--hardware", "raspberry-pi-5"]).status.code(), Some(0));
    refused(&dry(&["--hardware", "abacus"]), 2, &["`abacus`", "pc-1000usd-3y", "laptop"]);
    assert_eq!(dry(&["--hardware", "laptop", "--hardware-usd-per-hour", "1"]).status.code(), Some(2));
    let file = folder.path().join("mine.toml");
    let named = file.to_str().unwrap();
    refused(&dry(&["--hardware", named]), 2, &["mine.toml"]);
    fs::write(&file, "[[hardware]]\nname = \"mine\"\nprice = 500\nlifetime_years = 2\nutilisation = 2\n").unwrap();
    refused(&dry(&["--hardware", named]), 2, &["`mine`", "utilisation"]);
    fs::write(&file, "[[hardware]]\nname = \"mine\"\nprice = 500\nlifetime_years = 2\nutilisation = 0.2\n").unwrap();
    assert_eq!(dry(&["--hardware", named]).status.code(), Some(0), "{}", stderr(&dry(&["--hardware", named])));
}

#[test]
#[cfg(not(feature = "cuda"))]
fn a_gpu_that_this_build_cannot_use_is_one_clear_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let model = tiny(folder.path());
    let model = model.to_str().unwrap();
    for arguments in [
        &["speed", "--model", model][..],
        &["serve", "--model", model],
        &["bench", "--dry-run", "--slm", model, "--llm", model],
        &["doctor", "--no-measure", "--plan", model],
    ] {
        for device in ["cuda", "cuda:7"] {
            let output = run(folder.path(), &[arguments, &["--device", device]].concat());
            refused(&output, 2, &["this build has no CUDA", "--features cuda", "--device cpu"]);
        }
        #[cfg(not(feature = "metal"))]
        refused(&run(folder.path(), &[arguments, &["--device", "metal"]].concat()), 2, &["this build has no Metal"]);
    }
}
