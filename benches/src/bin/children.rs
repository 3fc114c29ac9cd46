//! Prints what children as connections cost, and whether the bars are met.

#![cfg_attr(
    target_os = "linux",
    expect(
        clippy::print_stdout,
        clippy::print_stderr,
        reason = "this program prints a report"
    )
)]

#[cfg(not(target_os = "linux"))]
fn main() {}

#[cfg(target_os = "linux")]
fn main() -> pool_reuse::measure::Measured<std::process::ExitCode> {
    linux::main()
}

#[cfg(target_os = "linux")]
mod linux {
    use std::process::ExitCode;

    use clap::Parser;
    use pool_benches::children::{TOPICS, act_if_asked};
    use pool_benches::effort::Effort;
    use pool_benches::figure;
    use pool_reuse::measure::Measured;
    use pool_reuse::measure::Stopwatch;

    /// Measures children as connections in interleaved rounds, by the ratios of medians.
    #[derive(Debug, Parser)]
    struct Arguments {
        /// A third of the rounds
        #[arg(long)]
        quick: bool,
        /// Only topics whose name contains NAME
        #[arg(long, value_name = "NAME")]
        only: Option<String>,
    }

    pub(super) fn main() -> Measured<ExitCode> {
        if let Some(played) = act_if_asked() {
            return Ok(played?);
        }
        let arguments = Arguments::parse();
        let effort = Effort::quick_if(arguments.quick);
        let mut figures = Vec::new();
        for topic in TOPICS {
            if arguments
                .only
                .as_ref()
                .is_some_and(|name| !topic.name.contains(name))
            {
                continue;
            }
            let watch = Stopwatch::start();
            let chapter = (topic.measure)(effort)?;
            eprintln!("{}: {:.1} s", topic.name, watch.elapsed().as_secs_f64());
            println!("{chapter}");
            figures.extend(chapter.figures);
        }
        if figures.is_empty() {
            let names = TOPICS.map(|topic| topic.name).join(", ");
            eprintln!("no topic has that in its name; there are: {names}");
            return Ok(ExitCode::FAILURE);
        }
        println!("## Figures and bars\n\n{}", figure::table(&figures));
        Ok(ExitCode::SUCCESS)
    }
}
