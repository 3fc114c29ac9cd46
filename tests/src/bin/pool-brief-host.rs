//! A program that starts one child and does nothing more: `pool-brief-host PROGRAM ARGUMENT`. It prints a
//! line when the child runs, and waits to be killed. Runs on every system.

#![expect(
    clippy::print_stdout,
    reason = "the line is what its starter waits for"
)]

use std::error::Error;

use pool_stdio::CommandSpec;

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args_os().skip(1);
    let (Some(program), Some(argument)) = (args.next(), args.next()) else {
        return Err("a program and its argument are needed".into());
    };
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let child = runtime.block_on(CommandSpec::new(program).arg(argument).build()?.spawn())?;
    println!("{}", child.pid());
    loop {
        std::thread::park();
    }
}
