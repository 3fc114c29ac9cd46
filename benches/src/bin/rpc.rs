//! Prints the topics of `children` that concern JSON-RPC: calls beside rmcp's client, forwarding, leases
//! and shared pools.

#![cfg_attr(
    target_os = "linux",
    expect(clippy::print_stdout, reason = "this program prints a report")
)]

#[cfg(not(target_os = "linux"))]
fn main() {}

#[cfg(target_os = "linux")]
fn main() -> pool_reuse::measure::Measured<std::process::ExitCode> {
    use pool_benches::children::{TOPICS, act_if_asked};
    use pool_benches::effort::Effort;
    use pool_benches::figure;

    if let Some(played) = act_if_asked() {
        return Ok(played?);
    }
    let is_quick = std::env::args().any(|argument| argument == "--quick");
    let effort = Effort::quick_if(is_quick);
    let mut figures = Vec::new();
    for topic in TOPICS {
        if topic.name.starts_with("json-rpc") {
            let chapter = (topic.measure)(effort)?;
            println!("{chapter}");
            figures.extend(chapter.figures);
        }
    }
    println!("## Figures and bars\n\n{}", figure::table(&figures));
    Ok(std::process::ExitCode::SUCCESS)
}
