//! The order of the start and of the end.
//!
//! The end: no more is accepted; streams that would never end are closed; requests in flight are finished;
//! the children leave; what did not leave is killed. All that is done within one limit, whatever requests and
//! children do. If this process is killed, the guardian of `pool-stdio` ends the children.

use std::error::Error;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::panic::{self, PanicHookInfo};
use std::sync::Arc;
use std::time::Duration;

use metrics_exporter_prometheus::PrometheusBuilder;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout_at};
use tracing_subscriber::field::MakeExt;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::format::debug_fn;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::app::App;
use crate::config::{Config, LogFormat, LogSettings};
use crate::descriptors;
use crate::front;
use crate::log_filter::SaidHere;
use crate::log_lines::LogLines;

/// Serves until SIGINT, SIGTERM or SIGHUP.
pub(crate) fn run(config: &Config) -> Result<(), Box<dyn Error>> {
    let log = begin_log(&config.settings.log)?;
    // One thread passes on more than most servers answer; the children have the other cores.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let served = runtime.block_on(serve(config, log.as_ref()));
    // What still runs is not waited for.
    runtime.shutdown_background();
    if let Some(log) = log {
        log.flush(LOG_GRACE);
    }
    served
}

async fn serve(config: &Config, log: Option<&LogLines>) -> Result<(), Box<dyn Error>> {
    // Order: ready for the signals before there is anything to lose.
    let told_to_end = told_to_end()?;
    let metrics = PrometheusBuilder::new().install_recorder()?;
    let settings = &config.settings;
    // Order: before children look for their descriptors.
    let connections_max = descriptors::connections_max(settings)?;
    let app = App::new(settings, metrics)?;
    let listener = front::listen(settings.listen).map_err(|error| {
        let listen = settings.listen;
        let other = "`--listen 127.0.0.1:0` takes a free port";
        format!("cannot listen on {listen}: {error}. {other}")
    })?;
    announce(config, listener.local_addr()?);

    let ending = async {
        told_to_end.await;
        tracing::info!("told to end");
        app.stop.cancel();
        app.sessions.clear();
    };
    let (connections, (), ()) = tokio::join!(
        front::serve(listener, &app, connections_max),
        ending,
        upkeep(&app, log)
    );
    let limit = app.limits.shutdown_timeout;
    let limit = limit - LOG_GRACE.min(limit / 2);
    let is_all = end_within(limit, connections.shutdown(), |left| close(&app, left)).await;
    tracing::info!(is_all, "ended");
    Ok(())
}

/// Resolves on SIGINT, SIGTERM or SIGHUP, which are caught from now on. SIGHUP stays ignored if it is, as `nohup`
/// wants it.
#[cfg(unix)]
fn told_to_end() -> io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = match is_hangup_ignored() {
        true => None,
        false => Some(signal(SignalKind::hangup())?),
    };
    Ok(async move {
        let hangup = async {
            match &mut hangup {
                Some(hangup) => hangup.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! { _ = interrupt.recv() => {} _ = terminate.recv() => {} _ = hangup => {} }
    })
}

/// Whether this process was started with SIGHUP ignored. Only Linux says so.
#[cfg(unix)]
fn is_hangup_ignored() -> bool {
    const HANGUP: u64 = 1;
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    ignored.is_some_and(|mask| mask & HANGUP != 0)
}

/// Resolves on Ctrl-C.
#[cfg(not(unix))]
fn told_to_end() -> io::Result<impl Future<Output = ()>> {
    Ok(async { drop(tokio::signal::ctrl_c().await) })
}

/// Waits for requests, then ends children, who are told how long they have. It takes no longer than the limit,
/// whatever they do. Returns whether all of them ended.
async fn end_within<C: Future<Output = ()>>(
    limit: Duration,
    requests: impl Future<Output = ()>,
    children: impl FnOnce(Duration) -> C,
) -> bool {
    let end = Instant::now() + limit;
    let for_children = CHILDREN_GRACE.min(limit / 2);
    let are_requests_over = timeout_at(end - for_children, requests).await.is_ok();
    if !are_requests_over {
        tracing::warn!("requests were cut short: they did not end in time");
    }
    let left = end
        .saturating_duration_since(Instant::now())
        .min(CHILDREN_GRACE);
    let are_children_gone = timeout_at(end, children(left)).await.is_ok();
    if !are_children_gone {
        tracing::error!("children do not end");
    }
    are_requests_over && are_children_gone
}

/// Ends all children.
async fn close(app: &Arc<App>, limit: Duration) {
    // One can have begun since.
    app.sessions.clear();
    let closes = app.servers.values().map(|server| server.close(limit));
    futures_util::future::join_all(closes).await;
}

/// What has to be looked at from time to time.
async fn upkeep(app: &Arc<App>, log: Option<&LogLines>) {
    let mut lost_before = 0;
    let mut ticks = interval(UPKEEP_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while app.stop.run_until_cancelled(ticks.tick()).await.is_some() {
        app.sessions.sweep();
        for server in app.servers.values() {
            server.sweep();
        }
        app.make_room();
        app.metrics.run_upkeep();
        let lost = log.map_or(0, LogLines::lost);
        if lost > lost_before {
            // If this line is lost too, the next look finds one more.
            lost_before = lost;
            tracing::warn!(lost, "lines of the log are lost: stderr does not take them");
        }
    }
}

/// Begins the log; `None` if there is to be none.
fn begin_log(settings: &LogSettings) -> io::Result<Option<LogLines>> {
    if settings.format == LogFormat::Off {
        // Nothing is written to stderr, which nobody may read.
        panic::set_hook(Box::new(|_| {}));
        return Ok(None);
    }
    let lines = LogLines::begin(settings.lines_max, LOG_GATHERS_FOR, io::stderr())?;
    let levels = Targets::new()
        .with_default(LevelFilter::WARN)
        .with_target("pool_proxy", LevelFilter::INFO);
    let registry = tracing_subscriber::registry().with(levels).with(SaidHere);
    let layer = tracing_subscriber::fmt::layer()
        .with_writer(lines.clone())
        .with_ansi(false);
    match settings.format {
        LogFormat::Json => registry.with(layer.json().flatten_event(true)).init(),
        LogFormat::Human | LogFormat::Off => {
            // Without the styles of a terminal, which cost time even where they write nothing.
            let fields = debug_fn(|writer, field, value| match field.name() {
                "message" => write!(writer, "{value:?}"),
                name => write!(writer, "{name}={value:?}"),
            });
            registry
                .with(layer.fmt_fields(fields.delimited(" ")))
                .init();
        }
    }
    panic::set_hook(Box::new(log_panic));
    Ok(Some(lines))
}

/// Says it in the log, which never waits for stderr, as the hook of the standard library does.
fn log_panic(panic: &PanicHookInfo<'_>) {
    let said = panic.payload();
    let said = said.downcast_ref::<&str>().copied();
    let said = said.or_else(|| panic.payload().downcast_ref().map(String::as_str));
    let said = said.unwrap_or_default();
    let (file, line) = panic
        .location()
        .map_or(("", 0), |at| (at.file(), at.line()));
    tracing::error!("a bug: panicked at {file}:{line}: {said}");
}

/// Says where it listens, for people and programs, which may close the pipe after the first line.
fn announce(config: &Config, address: SocketAddr) {
    let mut text = format!("listening on http://{address}\n");
    for name in config.settings.servers.keys() {
        text.push_str(&format!("  http://{address}/servers/{name}/mcp\n"));
    }
    if config.shows_curl {
        text.push_str(&format!(
            "\nTry it:\n  curl -s http://{address}/mcp -H 'Content-Type: application/json' \\\n    -d \
             '{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/call\",\"params\":{{\"name\":\"echo\",\
             \"arguments\":{{\"text\":\"hello\"}}}}}}'\n"
        ));
    }
    let mut out = io::stdout().lock();
    // Nobody listens if stdout is closed.
    drop(out.write_all(text.as_bytes()).and_then(|()| out.flush()));
}

/// For the last lines of the log, if stderr takes them.
const LOG_GRACE: Duration = Duration::from_millis(500);
/// So long the first line of the log waits for others. Nobody who reads along sees it.
const LOG_GATHERS_FOR: Duration = Duration::from_millis(5);
/// How often idle sessions are looked for.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(1);
/// For children that must end: their input ends first.
const CHILDREN_GRACE: Duration = Duration::from_secs(3);

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};
    use std::sync::Mutex;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_end_takes_no_longer_than_its_limit_whatever_does_not_end() {
        for limit in [Duration::from_secs(10), Duration::from_secs(1)] {
            let begun = Instant::now();
            let mut given = Duration::ZERO;
            let children = |left| {
                given = left;
                pending()
            };
            assert!(!end_within(limit, pending(), children).await);
            assert_eq!(begun.elapsed(), limit);
            assert_eq!(
                given,
                CHILDREN_GRACE.min(limit / 2),
                "children have a part of it"
            );
        }
    }

    #[test]
    fn a_panic_is_said_in_the_log() {
        let file = std::env::temp_dir().join(format!("pool-proxy-{}.panic", std::process::id()));
        let said = std::fs::File::create(&file).unwrap();
        let log = tracing_subscriber::fmt().with_writer(Mutex::new(said));
        let log = log.with_ansi(false).finish();
        let before = panic::take_hook();
        panic::set_hook(Box::new(log_panic));
        tracing::subscriber::with_default(log, || {
            let panicked = panic::catch_unwind(|| panic!("at {}", 7));
            assert!(panicked.is_err());
        });
        panic::set_hook(before);
        let said = std::fs::read_to_string(&file).unwrap();
        std::fs::remove_file(&file).unwrap();
        assert!(
            said.contains("ERROR") && said.contains("shutdown.rs:"),
            "{said}"
        );
        assert!(said.contains(": at 7"), "{said}");
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_waits_for_nothing_that_has_ended() {
        let begun = Instant::now();
        assert!(end_within(Duration::from_secs(10), ready(()), |_| ready(())).await);
        assert_eq!(begun.elapsed(), Duration::ZERO);
    }
}
