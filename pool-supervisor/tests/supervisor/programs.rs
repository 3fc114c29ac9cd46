//! Which file a program's name means, and what a script without an interpreter line does.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::driver::{Driver, output};

/// A folder of its own, with executable files in it.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str, files: &[(&str, &str)]) -> Self {
        let name = format!("pool-supervisor-{}-{name}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        for (file, text) in files {
            let path = folder.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        Self(folder)
    }

    fn text(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

/// What a program writes, found by this `PATH` from this directory.
fn said_by(argv: &[&str], path: &str, cwd: &Path) -> String {
    let mut driver = Driver::start();
    let more = json!({"argv": argv, "env": {"PATH": path}, "cwd": cwd.to_str().unwrap()});
    driver.spawn_with("a", "", more);
    driver.told("terminated", "a");
    String::from_utf8(output(&driver.said, "a", "stdout")).unwrap()
}

#[test]
fn a_relative_entry_of_path_means_a_folder_in_the_directory_of_the_child() {
    let files = [
        ("bin/tool", "#!/bin/sh\necho tool\n"),
        ("tool", "#!/bin/sh\necho other\n"),
    ];
    let folder = Folder::new("relative-path", &files);
    for (path, said) in [
        ("/no/such:bin:/bin", "tool\n"),
        ("./bin", "tool\n"),
        (":bin", "other\n"),
        ("/bin:.", "other\n"),
    ] {
        assert_eq!(said_by(&["tool"], path, &folder.0), said, "{path}");
    }
    // One that is no program does not hide a later one, and is the reason if there is none.
    fs::set_permissions(folder.0.join("tool"), fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(said_by(&["tool"], ".:bin", &folder.0), "tool\n");
    let mut driver = Driver::start();
    let more = json!({"argv": ["tool"], "env": {"PATH": ".:/bin"}, "cwd": folder.text()});
    let params = crate::driver::spawn_params("a", "", more);
    let refused = driver.call("spawn", params).unwrap_err();
    assert_eq!(refused["data"]["errno"], "EACCES");
}

#[test]
fn a_script_without_an_interpreter_line_is_run_by_a_shell() {
    let script = "echo \"$0\" \"$@\"; exit 3\n";
    let folder = Folder::new("no-interpreter", &[("bin/script", script)]);
    let path = format!("{}/bin/script", folder.text());
    let args = ["./bin/script", "one", "two words"];
    let said = said_by(&args, "/bin", &folder.0);
    assert_eq!(said, format!("{path} one two words\n"));
    let said = said_by(&["script", "-c"], "bin:/bin", &folder.0);
    assert_eq!(said, format!("{path} -c\n"));
}
