//! Prints every broken rule about the layout of the source tree, and fails if there is one. With
//! `--public` it prints the public items of each library instead, and how many there are.

#![expect(clippy::print_stdout, reason = "it is a program to be read")]

use std::path::Path;
use std::process::ExitCode;

fn main() -> std::io::Result<ExitCode> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    if std::env::args().nth(1).as_deref() == Some("--public") {
        print!("{}", pool_tests::layout::public_items(&root)?);
        return Ok(ExitCode::SUCCESS);
    }
    let broken = pool_tests::layout::check_workspace(&root)?;
    for rule in &broken {
        println!("{rule}");
    }
    println!("broken rules of layout: {}", broken.len());
    Ok(if broken.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
