//! What must not compile: going to the app without a permit from the gate.
//!
//! Each file in tests/permits is given to the compiler with this crate as the other tests have it; the first line says what
//! the compiler must say. (trybuild does the same, but builds every crate anew for it: minutes.)

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

#[test]
fn nothing_can_be_forwarded_without_a_permit() {
    let crates = Crates::built();
    let mut cases: Vec<PathBuf> = fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/permits"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    cases.sort();
    let (mut refused, mut compiled) = (0, 0);
    for case in cases {
        let code = fs::read_to_string(&case).unwrap();
        let first = code.lines().next().unwrap();
        let said = crates.compile(&case);
        if let Some(expected) = first.strip_prefix("// Refused: ") {
            let expected = expected.split(" (").next().unwrap();
            assert_eq!(said, [expected], "{}", case.display());
            refused += 1;
        } else {
            assert!(
                first.starts_with("// Compiles: "),
                "{} says not what is expected",
                case.display()
            );
            assert_eq!(said, [""; 0], "{}", case.display());
            compiled += 1;
        }
    }
    assert!(refused >= 5 && compiled >= 1, "the cases were not found");
}

/// The crates as they were built for this test: asking once more builds nothing.
struct Crates {
    externs: Vec<OsString>,
    dependencies: PathBuf,
}

impl Crates {
    fn built() -> Self {
        let cargo = Command::new(env!("CARGO"))
            .args([
                "test",
                "--no-run",
                "--locked",
                "--offline",
                "--test",
                "permits",
                "--message-format=json",
            ])
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .output()
            .unwrap();
        assert!(cargo.status.success(), "{}", String::from_utf8_lossy(&cargo.stderr));
        let (mut externs, mut dependencies) = (Vec::new(), None);
        for line in String::from_utf8(cargo.stdout).unwrap().lines() {
            let message: Value = serde_json::from_str(line).unwrap();
            let name = message["target"]["name"].as_str().unwrap_or_default();
            let library = message["filenames"].as_array().and_then(|files| {
                let files = files.iter().filter_map(Value::as_str);
                files
                    .into_iter()
                    .find(|file| Path::new(file).extension().is_some_and(|of| of == "rlib"))
            });
            if let Some(library) = library
                && ["vestibule", "http", "hyper"].contains(&name)
            {
                externs.push(format!("{name}={library}").into());
                dependencies = Path::new(library).parent().map(Path::to_owned);
            }
        }
        assert_eq!(externs.len(), 3, "{externs:?}");
        Self {
            externs,
            dependencies: dependencies.unwrap(),
        }
    }

    /// The code of every error, its text where it has none.
    fn compile(&self, case: &Path) -> Vec<String> {
        let made = std::env::temp_dir().join(format!("vestibule-permits-{}", std::process::id()));
        let mut rustc = Command::new("rustc");
        rustc
            .args([
                "--edition",
                "2024",
                "--error-format=json",
                "--emit=metadata",
                "-A",
                "warnings",
                "-o",
            ])
            .arg(&made)
            .arg("-L")
            .arg(format!("dependency={}", self.dependencies.display()))
            .current_dir(env!("CARGO_MANIFEST_DIR"));
        for library in &self.externs {
            rustc.arg("--extern").arg(library);
        }
        let output = rustc.arg(case).output().unwrap();
        let _ = fs::remove_file(made);
        let errors: Vec<String> = String::from_utf8(output.stderr)
            .unwrap()
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap_or_else(|_| panic!("{line}")))
            .filter(|message| message["level"] == "error")
            .map(|message| {
                let code = message["code"]["code"].as_str();
                code.or(message["message"].as_str()).unwrap_or_default().to_owned()
            })
            .filter(|said| !said.starts_with("aborting due to"))
            .collect();
        assert_eq!(
            errors.is_empty(),
            output.status.success(),
            "{}: {errors:?}",
            case.display()
        );
        errors
    }
}
