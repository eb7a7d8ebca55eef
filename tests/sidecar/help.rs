//! The command line of the built binary: help, version, colours, schema, completions, and a file that Kubernetes mounts.

use std::os::unix::fs::symlink;
use std::process::{Command, Output, Stdio};

use crate::process::binary;

fn run(arguments: &[&str]) -> Output {
    binary().args(arguments).stdin(Stdio::null()).output().unwrap()
}

/// Returns what is printed on stdout by a command that succeeds.
fn told(arguments: &[&str]) -> String {
    let output = run(arguments);
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn help_has_exit_codes_and_each_command_examples() {
    let root = told(&["--help"]);
    insta::with_settings!({prepend_module_to_snapshot => false, omit_expression => true}, {
        insta::assert_snapshot!("help", root);
    });
    let listed = root.split_once("Commands:\n").unwrap().1.split_once("\n\n").unwrap().0;
    let commands: Vec<&str> = listed.lines().map(|line| line.split_whitespace().next().unwrap()).collect();
    assert!(commands.len() >= 9, "{commands:?}");
    let mut all = String::new();
    for command in commands {
        let long = told(&[command, "--help"]);
        let (_, examples) = long.split_once("Examples:\n").unwrap_or_else(|| panic!("{command}: {long}"));
        for example in examples.lines() {
            let uses = example.contains(&format!("shiftgate {command}")) || command == "run";
            assert!(uses && is_understood(example), "{example}");
        }
        all.push_str(&format!("$ shiftgate {command} --help\n{long}\n"));
    }
    insta::with_settings!({prepend_module_to_snapshot => false, omit_expression => true}, {
        insta::assert_snapshot!("help-of-commands", all);
    });
}

/// True if the arguments of an example parse: `--help` behind them would not hide a usage error before it.
fn is_understood(example: &str) -> bool {
    let command = example.split(['#', '|', '<', '>', '&']).next().unwrap().trim();
    let words = command.replace("'x-session-id: 42'", "x-session-id:42").replace("*.jsonl", "a.jsonl");
    let mut words: Vec<&str> = words.split_whitespace().skip(1).collect();
    words.push("--help");
    run(&words).status.code() == Some(0) && !words.iter().any(|word| word.contains('\''))
}

#[test]
fn the_version_and_the_facts_of_the_build() {
    let version = concat!("shiftgate ", env!("CARGO_PKG_VERSION"), "\n");
    assert_eq!((told(&["--version"]).as_str(), told(&["-V"]).as_str()), (version, version));
    let facts = told(&["--version", "--verbose"]);
    // With SHIFTGATE_COMMIT in the environment of the test's own build, that is the commit.
    let unknown = "unknown: the build was not given SHIFTGATE_COMMIT";
    let commit = option_env!("SHIFTGATE_COMMIT").filter(|commit| !commit.is_empty()).unwrap_or(unknown);
    assert!(facts.contains(&format!("\ncommit: {commit}\n")), "{facts}");
    let keys: Vec<&str> = facts.lines().skip(1).map(|line| line.split_once(": ").unwrap().0).collect();
    assert_eq!(keys, ["commit", "target", "features", "build", "TLS"]);
    let host = Command::new("rustc").arg("-vV").output().unwrap();
    let host = String::from_utf8(host.stdout).unwrap();
    let host = host.lines().find_map(|line| line.strip_prefix("host: ")).unwrap();
    assert!(facts.contains(&format!("\ntarget: {host}\n")), "{facts} on {host}");
    assert_eq!(facts.contains("features: otlp"), cfg!(feature = "otlp"));
    assert_eq!(run(&["--verbose"]).status.code(), Some(2), "it belongs to --version");
}

/// Nothing in the build asks git, so each documented build is given the commit.
#[test]
fn documented_builds_name_their_commit() {
    let readme = include_str!("../../README.md");
    let container = include_str!("../../examples/container/README.md");
    let mut builds = 0;
    for line in readme.lines().chain(container.lines()) {
        let (variable, argument) =
            ("SHIFTGATE_COMMIT=$(git rev-parse HEAD) cargo", "--build-arg SHIFTGATE_COMMIT=$(git rev-parse HEAD)");
        if line.contains("cargo install --profile dist") || line.contains("cargo build --profile dist") {
            assert!(line.trim_start().starts_with(variable), "{line}");
            builds += 1;
        } else if line.contains("docker build -f") {
            assert!(line.contains(argument), "{line}");
            builds += 1;
        }
    }
    assert!(builds >= 4, "{builds}");
    let dockerfile = include_str!("../../examples/container/Dockerfile");
    let (before, _) = dockerfile.split_once("RUN touch src/main.rs").unwrap();
    let (_, after_dependencies) = before.split_once("--bin shiftgate").unwrap();
    assert!(after_dependencies.contains("\nARG SHIFTGATE_COMMIT\n"), "a commit would build the dependencies again");
    let compose = include_str!("../../examples/compose/compose.yaml");
    assert!(compose.contains("args: [SHIFTGATE_COMMIT]"));
}

/// A compose file passes an empty value for a variable that is not set.
#[test]
fn an_empty_variable_counts_as_unset() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("rollout.toml"), include_str!("../../rollout.toml")).unwrap();
    for arguments in [&["check", "--without-secrets"][..], &["--version"], &["schema"]] {
        let mut command = binary();
        let output = command.current_dir(folder.path()).env("SHIFTGATE_CONFIG", "").args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    let mut command = binary();
    let output =
        command.current_dir(folder.path()).env("SHIFTGATE_CONFIG", "absent.toml").arg("check").output().unwrap();
    assert_eq!(output.status.code(), Some(2), "a variable that is set names the file");
}

/// Without fish nothing completes.
#[test]
fn fish_completes_values() {
    if Command::new("fish").arg("--version").output().is_err() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("shiftgate.fish");
    std::fs::write(&file, told(&["completions", "fish"])).unwrap();
    let completed = |line: &str| {
        let script = format!("source {}; complete -C '{line}'", file.display());
        let mut fish = Command::new("fish");
        let output = fish.args(["--no-config", "-c", &script]).current_dir(folder.path()).env("HOME", folder.path());
        let words = String::from_utf8(output.output().unwrap().stdout).unwrap();
        words.lines().map(|line| line.split('\t').next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    for (line, words) in [
        ("shiftgate completions ", &["bash", "fish", "zsh"][..]),
        ("shiftgate --color ", &["always", "auto", "never"]),
        ("shiftgate check --color ", &["always", "auto", "never"]),
        ("shiftgate stat", &["status"]),
    ] {
        let mut found = completed(line);
        found.sort();
        found.dedup();
        assert_eq!(found, words, "{line}");
    }
}

#[test]
fn colours_are_asked_for_or_on_a_terminal() {
    let coloured = |arguments: &[&str]| {
        let output = binary().env_remove("NO_COLOR").args(arguments).output().unwrap();
        output.stdout.contains(&0x1b) || output.stderr.contains(&0x1b)
    };
    for arguments in [&["--help"][..], &["nonsense"]] {
        let with = |color| [arguments, &[color]].concat();
        assert!(coloured(&with("--color=always")), "{arguments:?}");
        assert!(!coloured(&with("--color=never")) && !coloured(arguments), "{arguments:?}");
    }
    assert_eq!(run(&["check", "--color", "pink"]).status.code(), Some(2));
}

/// `script` gives the binary a terminal.
#[test]
fn no_color_holds_on_a_terminal() {
    let shown = |no_color: Option<&str>, color: &str| {
        let folder = tempfile::tempdir().unwrap();
        let command = format!("{} nonsense {color}", env!("CARGO_BIN_EXE_shiftgate"));
        let mut script = Command::new("script");
        script
            .args(["-qec", &command, "/dev/null"])
            .current_dir(folder.path())
            .env_remove("NO_COLOR")
            .env("TERM", "xterm");
        if let Some(value) = no_color {
            script.env("NO_COLOR", value);
        }
        let output = script.stdin(Stdio::null()).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.contains("nonsense"), "{text}");
        text.contains('\x1b')
    };
    assert!(shown(None, ""));
    assert!(!shown(Some("1"), ""));
    assert!(!shown(None, "--color=never"));
    assert!(shown(Some("1"), "--color=always"));
}

#[test]
fn the_schema_is_that_of_the_repository() {
    assert_eq!(told(&["schema"]), include_str!("../../rollout.schema.json"));
}

#[test]
fn completions_are_scripts_that_their_shell_accepts() {
    let every = ["check", "completions", "demo", "explain", "report", "run", "schema", "shift", "status"];
    for (shell, part) in
        [("bash", "complete -F _shiftgate"), ("zsh", "#compdef shiftgate"), ("fish", "complete -c shiftgate")]
    {
        let script = told(&["completions", shell]);
        assert!(script.contains(part), "{shell}");
        for command in every {
            assert!(script.contains(command), "{shell}: {command}");
        }
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("script");
        std::fs::write(&file, script).unwrap();
        // A shell that is not installed has no opinion.
        if let Ok(status) = Command::new(shell).arg("-n").arg(&file).status() {
            assert!(status.success(), "{shell} -n");
        }
    }
    assert_eq!(run(&["completions", "tcsh"]).status.code(), Some(2));
    // Bash completes a candidate of the commands and an option.
    let check = format!(
        "source <({} completions bash); COMP_WORDS=(shiftgate sch); COMP_CWORD=1; _shiftgate shiftgate sch shiftgate; \
         echo \"${{COMPREPLY[*]}}\"",
        env!("CARGO_BIN_EXE_shiftgate")
    );
    let output = Command::new("bash").arg("-c").arg(check).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "schema");
}

#[test]
fn shift_on_a_mounted_configmap_says_what_to_edit_and_writes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    // As the kubelet writes it.
    let volume = folder.path().join("volume");
    std::fs::create_dir_all(volume.join("..2026_11_29_08_00_00.1")).unwrap();
    symlink("..2026_11_29_08_00_00.1", volume.join("..data")).unwrap();
    symlink("..data/rollout.toml", volume.join("rollout.toml")).unwrap();
    std::fs::write(volume.join("..data/rollout.toml"), include_str!("../../rollout.toml")).unwrap();
    let link = folder.path().join("rollout.toml");
    symlink("volume/rollout.toml", &link).unwrap();
    for (file, at) in [("volume/rollout.toml", &volume), ("rollout.toml", &folder.path().to_owned())] {
        let mut command = binary();
        let output = command.current_dir(folder.path()).args(["--config", file, "shift", "qwen-235b", "25"]).output();
        let output = output.unwrap();
        assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{at:?}");
        insta::with_settings!({prepend_module_to_snapshot => false, omit_expression => true, filters => vec![("^volume/", "")]}, {
            insta::assert_snapshot!("shift-mounted", String::from_utf8(output.stderr).unwrap());
        });
    }
    let shipped = include_str!("../../rollout.toml");
    assert_eq!(std::fs::read_to_string(volume.join("rollout.toml")).unwrap(), shipped);
    assert_eq!(std::fs::read_dir(volume.join("..data")).unwrap().count(), 1, "no temporary file");
    // A folder of another name is only a folder.
    let plain = folder.path().join("..plain");
    std::fs::create_dir(&plain).unwrap();
    std::fs::write(plain.join("rollout.toml"), shipped).unwrap();
    let path = plain.join("rollout.toml");
    assert!(told(&["--config", path.to_str().unwrap(), "shift", "qwen-235b", "25"]).contains("-> 25.00 %"));
}
