//! Tasks: what loads, and every bad input with its place, through the library and through `tasks`.

use assert_cmd::Command;
use routergym_local::contract::Contract;
use routergym_local::error::ExitStatus;
use routergym_local::task::{Problem, Split, check, load};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A small right task, of which each test spoils one thing.
struct Folder(TempDir);

const SPEC: &str = r#"name = "small"
[data]
file = "rows.jsonl"
[data.columns]
id = "id"
input = "text"
target = "topic"
articles = "articles"
facts = "facts"
needs_human = "human"
split = "split"
[[label]]
name = "Access"
[[label]]
name = "Storage"
[knowledge]
folder = "kb"
[answer]
schema = "schema.json"
[[specialist]]
domain = "Access"
"#;
const ROWS: &str = r#"{"id": "a", "text": "no login", "topic": "Access", "articles": ["login"], "facts": [["reset"]], "human": false, "split": "train"}
{"id": "b", "text": "disk full", "topic": "Storage", "articles": [], "facts": [], "human": true, "split": "train"}
{"id": "c", "text": "no login again", "topic": "Access", "articles": ["login"], "facts": [], "human": false, "split": "test"}
"#;
const SCHEMA: &str =
    r#"{"type": "object", "properties": {"category": {"enum": ["Storage", "Access"]}}, "required": ["category"]}"#;

impl Folder {
    fn empty() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn new() -> Self {
        let folder = Self::empty();
        std::fs::create_dir(folder.path().join("kb")).unwrap();
        folder.write("task.toml", SPEC).write("rows.jsonl", ROWS).write("schema.json", SCHEMA);
        folder.write("kb/login.md", "# Sign in\n\nReset it.\n").write("kb/disk.md", "Delete things.\n");
        folder
    }

    fn csv(columns: &str, rows: impl AsRef<[u8]>) -> Self {
        let folder = Self::empty();
        folder.write("task.toml", format!("name = \"csv\"\n[data]\nfile = \"rows.csv\"\n[data.columns]\n{columns}\n"));
        folder.write("rows.csv", rows);
        folder
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn write(&self, file: &str, content: impl AsRef<[u8]>) -> &Self {
        std::fs::write(self.path().join(file), content).unwrap();
        self
    }

    fn replace(&self, file: &str, from: &str, to: &str) -> &Self {
        let text = std::fs::read_to_string(self.path().join(file)).unwrap();
        assert!(text.contains(from), "{from:?} is not in {file}");
        self.write(file, text.replacen(from, to, 1))
    }

    fn problems(&self) -> Vec<Problem> {
        let problems = check(self.path()).unwrap();
        let error = load(self.path()).expect_err("a task with problems does not load");
        assert_eq!(ExitStatus::of(&error), ExitStatus::Usage);
        assert!(!problems.is_empty());
        problems
    }

    /// The one problem, as `file:line: reason` without the folder.
    fn problem(&self) -> String {
        let mut problems = self.problems();
        assert_eq!(problems.len(), 1, "{problems:#?}");
        let mut only = problems.remove(0);
        only.file = only.file.strip_prefix(self.path()).map(Path::to_owned).unwrap_or(only.file);
        only.to_string()
    }

    fn complains(&self, beginning: &str, parts: &[&str]) {
        let problem = self.problem();
        assert!(problem.starts_with(beginning), "{problem}");
        for part in parts {
            assert!(problem.contains(part), "{part:?} is not in {problem}");
        }
    }
}

fn command() -> Command {
    Command::new(assert_cmd::cargo::cargo_bin!("routergym-local"))
}

#[test]
fn a_right_task_loads_whole() {
    let folder = Folder::new();
    let task = load(folder.path()).unwrap();
    assert_eq!(task.samples.len(), 3);
    assert_eq!(task.samples[0].target.facts, Some(vec![vec!["reset".to_owned()]]));
    assert_eq!(task.samples[1].target.needs_human, Some(true));
    assert_eq!(task.samples[2].split, Split::Test);
    assert_eq!(task.examples_per_label, 1);
    let titles: Vec<_> = task.articles.iter().map(|article| (article.id.as_str(), article.title.as_str())).collect();
    assert_eq!(titles, [("disk", "disk"), ("login", "Sign in")]);
    assert_eq!(task.static_memory, None, "titles are not the author's instructions");
    assert_eq!(load(&folder.path().join("task.toml")).unwrap().sha256, task.sha256);
}

#[test]
fn an_articles_id_is_its_path_without_the_ending() {
    let folder = Folder::new();
    for place in ["kb/vpn", "kb/mail"] {
        std::fs::create_dir(folder.path().join(place)).unwrap();
        folder.write(&format!("{place}/setup.md"), "# Set up\n\nDo it.\n");
    }
    let task = load(folder.path()).unwrap();
    let ids: Vec<_> = task.articles.iter().map(|article| article.id.as_str()).collect();
    assert_eq!(ids, ["disk", "login", "mail/setup", "vpn/setup"]);
}

#[test]
fn the_fingerprint_changes_with_every_file_and_with_nothing_else() {
    let print = |folder: &Folder| load(folder.path()).unwrap().sha256;
    let original = print(&Folder::new());
    assert_eq!(print(&Folder::new()), original);
    for (file, from, to) in [
        ("task.toml", "small", "other"),
        ("rows.jsonl", "no login", "No login"),
        ("schema.json", "\"required\"", " \"required\""),
        ("kb/disk.md", "Delete", "Drop"),
    ] {
        let folder = Folder::new();
        folder.replace(file, from, to);
        assert_ne!(print(&folder), original, "{file}");
    }
}

#[test]
fn every_bad_row_of_json_lines_is_told_with_its_line() {
    for (from, to, beginning, parts) in [
        (
            "\"text\": \"disk full\", ",
            "",
            "rows.jsonl:2: ",
            &["no key \"text\"", "data.columns.input", "\"topic\""][..],
        ),
        ("\"disk full\"", "\"  \"", "rows.jsonl:2: ", &["\"text\" is empty"]),
        ("\"disk full\"", "7", "rows.jsonl:2: ", &["\"text\" must be text, not a number: \"7\""]),
        ("\"Storage\"", "\"Storrage\"", "rows.jsonl:2: ", &["unknown label \"Storrage\"; did you mean \"Storage\"?"]),
        ("\"Storage\"", "\"Zoo\"", "rows.jsonl:2: ", &["unknown label \"Zoo\"; known are: \"Access\", \"Storage\""]),
        ("\"id\": \"b\"", "\"id\": \"a\"", "rows.jsonl:2: ", &["the id \"a\" is already that of line 1"]),
        ("{\"id\": \"b\"", "\"id\": \"b\"", "rows.jsonl:2: ", &["is not JSON"]),
        (
            "\"split\": \"test\"",
            "\"split\": \"tset\"",
            "rows.jsonl:3: ",
            &["unknown split \"tset\"; write train, dev or test"],
        ),
        ("[\"login\"]", "[\"logon\"]", "rows.jsonl:1: ", &["unknown article \"logon\"; did you mean \"login\"?"]),
        ("[\"login\"]", "[3]", "rows.jsonl:1: ", &["\"articles\" must be a list of texts"]),
        ("[[\"reset\"]]", "[[]]", "rows.jsonl:1: ", &["\"facts\" must be a list of facts"]),
        ("false", "\"perhaps\"", "rows.jsonl:1: ", &["\"human\" must be true or false, not \"perhaps\""]),
        ("\"split\": \"test\"", "\"split\": \"train\"", "task.toml: ", &["no test rows"]),
    ] {
        let folder = Folder::new();
        folder.replace("rows.jsonl", from, to).complains(beginning, parts);
    }
}

#[test]
fn every_mistake_in_the_specification_is_told_with_its_place() {
    for (from, to, beginning, parts) in [
        ("name = \"small\"", "name = \"small", "task.toml:1: ", &["name = \"small"][..]),
        ("target = ", "tagret = ", "task.toml:7: ", &["tagret"]),
        ("\"rows.jsonl\"", "\"none.jsonl\"", "none.jsonl: ", &["no such file"]),
        ("\"rows.jsonl\"", "\"schema.json\"", "schema.json: ", &[".csv, .tsv or .jsonl"]),
        ("file = \"rows.jsonl\"", "", "task.toml: ", &["names no file"]),
        ("file = \"rows.jsonl\"", "file = \"rows.jsonl\"\ntest = \"rows.jsonl\"", "task.toml: ", &["`file` as well"]),
        ("facts = \"facts\"", "facts = \"fcats\"", "rows.jsonl: ", &["no row has a key \"fcats\" (data.columns.facts"]),
        (
            "domain = \"Access\"",
            "domain = \"Acces\"",
            "task.toml:21: ",
            &["\"Acces\" is no label; did you mean \"Access\"?"],
        ),
        ("\"schema.json\"", "\"kb/login.md\"", "kb/login.md:1: ", &["the schema is not JSON"]),
        ("[answer]\n", "[answer]\nanswer = \"reply\"\n", "schema.json: ", &["no property \"reply\" (answer.answer"]),
        (
            "[[specialist]]",
            "[prompt]\nexamples_per_label = 2\n[[specialist]]",
            "task.toml: ",
            &["examples_per_label is 2", "\"Access\", \"Storage\""],
        ),
    ] {
        let folder = Folder::new();
        folder.replace("task.toml", from, to).complains(beginning, parts);
    }
    let folder = Folder::new();
    folder.replace("task.toml", "name = \"Storage\"", "name = \"access\"");
    assert!(
        folder.problems()[0].to_string().ends_with(
            "task.toml:15: the label \"access\" is too like \"Access\": labels must differ in more than case"
        )
    );
}

#[test]
fn the_schema_must_have_exactly_the_labels() {
    let folder = Folder::new();
    folder
        .replace("schema.json", "\"Storage\"", "\"Storage\", \"Zoo\"")
        .complains("schema.json: ", &["no label of the task: \"Zoo\""]);
    let folder = Folder::new();
    folder
        .replace("schema.json", "\"Storage\", ", "")
        .complains("schema.json: ", &["lacks labels of the task: \"Storage\""]);
    let folder = Folder::new();
    folder.replace("schema.json", "\"enum\"", "\"x\"").complains("schema.json: ", &["needs an \"enum\""]);
    let folder = Folder::new();
    folder.write("schema.json", "true").complains("schema.json: ", &["not the schema of an object"]);
}

/// A task whose schema takes the form of its answers from a file beside it.
fn with_reference(references: &str) -> Folder {
    let folder = Folder::new();
    let schema = r#"{"type": "object", "properties": {"category": {"enum": ["Access", "Storage"]}, "mail": {"$ref": "mail.json"}}}"#;
    folder.write("schema.json", schema).write("mail.json", r#"{"type": "string", "format": "email"}"#);
    folder.replace("task.toml", "schema = \"schema.json\"", &format!("schema = \"schema.json\"\n{references}"));
    folder
}

#[test]
fn a_schema_refers_to_the_files_that_are_listed_and_to_no_other() {
    let mail = r#"{"category": "Access", "mail": 3}"#;
    let folder = with_reference("references = [\"mail.json\"]");
    let contract = Contract::of_task(&load(folder.path()).unwrap()).unwrap();
    assert_eq!(contract.check(mail).violations[0].rule, "type");

    let unlisted = with_reference("");
    let error = Contract::of_task(&load(unlisted.path()).unwrap()).unwrap_err().to_string();
    assert!(error.contains("mail.json") && error.contains("answer.references"), "{error}");
    let out = command().args(["tasks", "check"]).arg(unlisted.path()).assert().code(2);
    assert!(String::from_utf8_lossy(&out.get_output().stdout).contains("mail.json"));

    for (address, reference) in [
        ("https://example.com/schemas/answer", "mail.json"),
        ("https://example.com/answer", "https://example.com/mail.json"),
        ("https://example.com", "mail.json"),
        ("answer", "mail.json"),
    ] {
        let folder = with_reference("references = [\"mail.json\"]");
        folder.replace("schema.json", "{\"type\"", &format!("{{\"$id\": \"{address}\", \"type\""));
        folder.replace("schema.json", "\"mail.json\"", &format!("\"{reference}\""));
        let contract = Contract::of_task(&load(folder.path()).unwrap()).unwrap();
        assert!(!contract.check(mail).valid, "{address}");
    }
    for (references, part) in [
        ("references = [\"../mail.json\"]", "not in the folder of the schema"),
        ("references = [\"/etc/hostname\"]", "not in the folder of the schema"),
        ("references = [\"none.json\"]", "no such file"),
        ("references = [\"task.toml\"]", "is not JSON"),
    ] {
        let text = with_reference(references).problems().iter().map(Problem::to_string).collect::<String>();
        assert!(text.contains(part), "{text}");
    }
}

#[test]
fn formats_are_notes_unless_the_task_asserts_them() {
    let wrong = r#"{"category": "Access", "mail": "nobody"}"#;
    for (formats, valid) in [("", true), ("formats = true", false)] {
        let folder = with_reference(&format!("references = [\"mail.json\"]\n{formats}"));
        let contract = Contract::of_task(&load(folder.path()).unwrap()).unwrap();
        assert_eq!(contract.check(wrong).valid, valid);
    }
}

#[test]
fn every_mistake_in_the_knowledge_folder_is_told() {
    let folder = Folder::new();
    folder.write("kb/disk.txt", "again").complains("kb/disk.txt: ", &["same id as", "disk.md"]);
    let folder = Folder::new();
    folder.write("kb/disk.md", b"# Disk\nx \xff").complains("kb/disk.md:2: ", &["not valid UTF-8"]);
    let folder = Folder::new();
    folder.write("kb/disk.md", "# Disk\n\n").complains("kb/disk.md: ", &["no text"]);
    let folder = Folder::new();
    folder.write("kb/disk.md", "x".repeat(300 << 10)).complains("kb/disk.md: ", &["bytes large"]);
    let folder = Folder::new();
    folder
        .replace("task.toml", "folder = \"kb\"", "folder = \"kbb\"")
        .complains("kbb: ", &["cannot be read as a folder"]);
    let folder = Folder::new();
    folder
        .replace("task.toml", "folder = \"kb\"", "folder = \"kb\"\nstatic = \"no.md\"")
        .complains("no.md: ", &["no such file"]);
}

#[test]
fn invalid_utf8_is_told_with_its_line_in_both_forms() {
    let folder = Folder::new();
    let mut rows = ROWS.as_bytes().to_vec();
    rows.extend(b"{\"id\": \"\xff\"}\n");
    folder.write("rows.jsonl", rows).complains("rows.jsonl:4: ", &["not valid UTF-8"]);

    let folder = Folder::csv("input = \"t\"\ntarget = \"l\"", b"t,l\na,x\n\"two\nlines \xe9\",y\nb,x\n");
    folder.complains("rows.csv:4: ", &["column \"t\" is not valid UTF-8"]);
    let folder = Folder::csv("input = \"t\"\ntarget = \"l\"", b"\xff\xfet\0,\0l\0\n\0");
    folder.complains("rows.csv:1: ", &["UTF-16"]);
}

#[test]
fn a_csv_file_of_the_users_own_loads_with_row_numbers_and_a_cut() {
    let mut rows = String::from("\u{feff}text,label\n");
    for row in 0..40 {
        writeln!(rows, "\"row {row}, with a comma\nand a line \"\"quoted\"\"\",{}", ["b", "a"][row % 2]).unwrap();
    }
    let folder = Folder::csv("input = \"text\"\ntarget = \"label\"", rows);
    let task = load(folder.path()).unwrap();
    assert_eq!(task.samples[0].query.id, "row-000001");
    assert_eq!(task.samples[0].query.input, "row 0, with a comma\nand a line \"quoted\"");
    assert_eq!(task.labels.iter().map(|label| label.name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!([Split::Train, Split::Dev, Split::Test].map(|split| task.split(split).count()), [10, 10, 20]);
    assert_eq!(task.examples_per_label, 1);
    let contract = Contract::of_task(&task).unwrap();
    assert!(contract.check("{\"category\": \"a\"}").valid);
    assert!(!contract.check("{\"category\": \"c\"}").valid);
}

#[test]
fn every_bad_row_of_a_csv_file_is_told_with_its_line() {
    let folder = Folder::csv("input = \"text\"\ntarget = \"l\"", "t,l\na,x\n");
    folder.complains("rows.csv:1: ", &["no column \"text\" (data.columns.input", "\"t\", \"l\""]);
    let folder = Folder::csv("input = \"t\"\ntarget = \"t\"", "t;l\na;x\n");
    assert!(folder.problems()[0].to_string().contains("separated by ';'"));
    let folder = Folder::csv(
        "id = \"id\"\ninput = \"t\"\ntarget = \"l\"",
        "id,t,l\n1,a,x\n\n2,\"b\nc\",x\n3,,x\n4,a,x,y\n2,a,x\n",
    );
    let lines: Vec<_> =
        folder.problems().iter().map(|problem| (problem.line.unwrap(), problem.reason.clone())).collect();
    assert_eq!(lines.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [6, 7, 8], "{lines:?}");
    assert!(lines[0].1.contains("\"t\" is empty"), "{lines:?}");
    assert!(lines[1].1.contains("4 fields where the header has 3"), "{lines:?}");
    assert!(lines[2].1.contains("already that of line 4"), "{lines:?}");
    let folder = Folder::csv("input = \"t\"\ntarget = \"l\"", "t,l\r\na,x\r\n\r\n\"b\r\nc\",\r\n,x\r\n");
    let lines: Vec<_> = folder.problems().iter().map(|problem| problem.line.unwrap()).collect();
    assert_eq!(lines, [4, 6]);
    Folder::csv("input = \"t\"\ntarget = \"l\"", "t,l\n").complains("task.toml: ", &["no rows"]);
}

#[test]
fn lists_in_csv_cells_are_json_or_separated_by_semicolons() {
    let folder = Folder::csv(
        "input = \"t\"\ntarget = \"l\"\narticles = \"k\"\nfacts = \"f\"\n[knowledge]\nfolder = \"kb\"",
        "t,l,k,f\na,x,p; q,\"[[\"\"one\"\",\"\"1\"\"],\"\"two\"\"]\"\nb,x,\"[\"\"p\"\"]\",\nc,x,,\n",
    );
    std::fs::create_dir(folder.path().join("kb")).unwrap();
    folder.write("kb/p.md", "p").write("kb/q.md", "q");
    let task = load(folder.path()).unwrap();
    let ids = |row: usize| task.samples[row].target.articles.clone().unwrap();
    assert_eq!((ids(0), ids(1), ids(2)), (vec!["p".into(), "q".into()], vec!["p".into()], vec![]));
    let facts = task.samples[0].target.facts.clone().unwrap();
    assert_eq!(facts, [vec!["one".to_owned(), "1".to_owned()], vec!["two".to_owned()]]);
}

#[test]
fn knowledge_may_be_a_file_of_rows_and_every_bad_row_is_named() {
    let rows = "{\"_id\": \"login\", \"title\": \"Sign in\", \"text\": \"Reset it.\"}\n\n{\"id\": \"disk\", \"text\": \"Delete things.\"}\n";
    let folder = Folder::new();
    folder.write("kb.jsonl", rows).replace("task.toml", "folder = \"kb\"", "file = \"kb.jsonl\"");
    let articles = |folder: &Folder| -> Vec<[String; 3]> {
        let task = load(folder.path()).unwrap();
        task.articles.into_iter().map(|article| [article.id, article.title, article.text]).collect()
    };
    let wanted =
        [["login", "Sign in", "Reset it."], ["disk", "disk", "Delete things."]].map(|one| one.map(String::from));
    assert_eq!(articles(&folder), wanted);
    let before = load(folder.path()).unwrap().sha256;
    folder.replace("kb.jsonl", "Delete things.", "Delete more.");
    assert_ne!(load(folder.path()).unwrap().sha256, before);
    folder.write("kb.csv", "id,text,title\nlogin,Reset it.,Sign in\ndisk,Delete things.,\n");
    folder.replace("task.toml", "kb.jsonl", "kb.csv");
    assert_eq!(articles(&folder), wanted);

    folder.write("kb.csv", "id,text\nlogin,Reset it.\nlogin,Again.\ndisk,\n");
    let problems = folder.problems();
    let lines: Vec<_> = problems.iter().map(|problem| problem.line).collect();
    assert_eq!(lines, [Some(3), Some(4)], "{problems:?}");
    assert!(problems.iter().all(|problem| problem.file.ends_with("kb.csv")), "{problems:?}");
    folder.write("kb.csv", "id,text\n").complains("kb.csv: ", &["no article"]);
    folder.write("kb.csv", "id,body\na,b\n").complains("kb.csv:1: ", &["no column \"text\""]);
    folder.replace("task.toml", "kb.csv", "none.jsonl").complains("none.jsonl: ", &["no such file"]);
    folder.replace("task.toml", "none.jsonl", "schema.json").complains("schema.json: ", &["unknown kind"]);
}

#[test]
fn knowledge_is_one_folder_or_one_file() {
    let folder = Folder::new();
    folder.replace("task.toml", "folder = \"kb\"", "folder = \"kb\"\nfile = \"kb.jsonl\"");
    folder.complains("task.toml: ", &["`folder` as well as `file`"]);
    let folder = Folder::new();
    folder.replace("task.toml", "folder = \"kb\"", "static = \"schema.json\"");
    folder.complains("task.toml: ", &["no articles: give `folder` or `file`"]);
}

#[test]
fn a_column_says_which_samples_can_be_answered() {
    let columns = "input = \"t\"\ntarget = \"l\"\nanswerable = \"known\"";
    let task = load(Folder::csv(columns, "t,l,known\na,x,true\nb,x,false\nc,x,\n").path()).unwrap();
    let said: Vec<_> = task.samples.iter().map(|sample| sample.target.answerable).collect();
    assert_eq!(said, [Some(true), Some(false), None]);
    Folder::csv(columns, "t,l,known\na,x,perhaps\n").complains("rows.csv:2: ", &["known", "perhaps"]);
    Folder::csv(columns, "t,l\na,x\n").complains("rows.csv:1: ", &["known", "data.columns.answerable"]);
}

#[test]
fn a_safety_policy_that_means_nothing_is_told_by_tasks_check() {
    let with = |table: &str| {
        let folder = Folder::new();
        let task = std::fs::read_to_string(folder.path().join("task.toml")).unwrap();
        folder.write("task.toml", format!("{task}\n[safety]\n{table}\n"));
        folder
    };
    let told = |table: &str, code: i32| {
        let folder = with(table);
        let out = command().args(["tasks", "check"]).arg(folder.path()).assert().code(code);
        String::from_utf8(out.get_output().stdout.clone()).unwrap()
    };
    assert!(told("injection = \"refuse\"\nCREDIT_CARD = \"redact\"", 0).contains("no problems"));
    assert_eq!(load(with("risk = \"person\"").path()).unwrap().safety["risk"], "person");
    for (table, part) in [
        ("emial = \"redact\"", "names \"emial\""),
        ("injection = \"hide\"", "there are allow, redact"),
        ("injection = \"redact\"", "only personal data has a value"),
        ("EMAIL = \"redact\"\nEMAIL_ADDRESS = \"allow\"", "mean the same: keep one"),
        ("injection = [\"refuse\"]", "invalid type"),
    ] {
        let text = told(table, 2);
        assert!(text.contains(part), "{table}: {text}");
    }
}

#[test]
fn a_folder_without_a_task_is_an_error_that_names_it() {
    let folder = Folder::empty();
    for path in [folder.path().to_owned(), folder.path().join("none")] {
        let error = load(&path).unwrap_err();
        assert_eq!(ExitStatus::of(&error), ExitStatus::Usage);
        assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
    }
}

#[test]
fn tasks_check_prints_places_and_exits_with_2() {
    let folder = Folder::new();
    folder.replace("rows.jsonl", "\"disk full\"", "\"\"");
    let out = command().args(["tasks", "check"]).arg(folder.path()).assert().code(2);
    let out = String::from_utf8(out.get_output().stdout.clone()).unwrap();
    assert_eq!(out, format!("{}:2: \"text\" is empty\n", folder.path().join("rows.jsonl").display()));

    let folder = Folder::new();
    folder.replace("schema.json", "\"type\": \"object\"", "\"type\": \"objct\"");
    let out = command().args(["tasks", "check"]).arg(folder.path()).assert().code(2);
    assert!(String::from_utf8_lossy(&out.get_output().stdout).contains("at /type"));

    let folder = Folder::new();
    let out = command().args(["tasks", "check"]).arg(folder.path()).assert().code(0);
    let out = String::from_utf8(out.get_output().stdout.clone()).unwrap();
    assert!(out.ends_with("no problems; 3 samples (2 train, 0 dev, 1 test), 2 labels, 2 articles\n"), "{out}");
}

#[test]
fn the_bundled_task_is_listed_and_has_no_problems() {
    let out = command().args(["tasks", "list", "--json"]).assert().code(0);
    let list: serde_json::Value = serde_json::from_slice(&out.get_output().stdout).unwrap();
    assert_eq!(list["tasks"][0]["name"], "helpdesk");
    let out = command().args(["tasks", "show", "helpdesk", "--json"]).assert().code(0);
    let shown: serde_json::Value = serde_json::from_slice(&out.get_output().stdout).unwrap();
    assert!(shown["samples"].as_u64().unwrap() >= 240);
    assert!(shown["articles"].as_u64().unwrap() >= 48);
    assert_eq!(shown["labels"].as_array().unwrap().len(), 8);
    command().args(["tasks", "check", "helpdesk"]).assert().code(0);
    command().args(["tasks", "show", "no-such-task"]).assert().code(2);
}

#[expect(clippy::print_stderr, reason = "a skipped test says so")]
fn shared(folder: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data").join(folder);
    if path.is_dir() {
        return Some(path);
    }
    eprintln!("skipped: there is no {}", path.display());
    None
}

#[test]
fn real_tickets_load_as_they_are() {
    let Some(data) = shared("it-tickets") else { return };
    let data = data.canonicalize().unwrap();
    let folder = Folder::empty();
    folder.write(
        "task.toml",
        format!(
            "name = \"it-tickets\"\n[data]\ntrain = {:?}\ntest = {:?}\n[data.columns]\ninput = \"Document\"\ntarget = \"Topic_group\"\n",
            data.join("tickets_train_3200.csv"),
            data.join("tickets_dev_512.csv")
        ),
    );
    let task = load(folder.path()).unwrap();
    assert_eq!((task.samples.len(), task.labels.len()), (3712, 8));
    assert_eq!((task.split(Split::Train).count(), task.split(Split::Test).count()), (3200, 512));
    assert_eq!(task.choose(Split::Test, Some(64), 1).len(), 64);
    assert_eq!(task.choose(Split::Test, Some(1), 1)[0].query.id.len(), "test-000001".len());
}
