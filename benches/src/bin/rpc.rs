//! Prints what JSON-RPC calls cost through this and through rmcp's client, what it costs to forward a
//! megabyte, and what four children bring beside one: of `children`, what concerns JSON-RPC.

#![cfg_attr(
    target_os = "linux",
    expect(
        clippy::print_stdout,
        reason = "the report is what this program is for"
    )
)]

#[cfg(not(target_os = "linux"))]
fn main() {}

#[cfg(target_os = "linux")]
fn main() -> pool_benches::children::Measured<std::process::ExitCode> {
    use pool_benches::children::{Effort, TOPICS, act_if_asked, verdicts};

    if let Some(played) = act_if_asked() {
        return Ok(played?);
    }
    let is_quick = std::env::args().any(|argument| argument == "--quick");
    let effort = if is_quick {
        Effort::Quick
    } else {
        Effort::Full
    };
    let mut judgements = Vec::new();
    for topic in TOPICS {
        if topic.name.starts_with("json-rpc") {
            let chapter = (topic.measure)(effort)?;
            println!("{chapter}");
            judgements.extend(chapter.judgements);
        }
    }
    println!("## Figures and bars\n\n{}", verdicts(&judgements));
    Ok(std::process::ExitCode::SUCCESS)
}
