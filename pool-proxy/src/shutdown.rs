//! The order of the start and of the end.
//!
//! The end: no more is accepted; streams that would never end are closed; requests in flight are finished,
//! within a limit; the children leave; what did not leave is killed. If this process is killed, the guardian
//! of `pool-stdio` ends the children.

use std::error::Error;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use metrics_exporter_prometheus::PrometheusBuilder;
use tokio::net::TcpListener;
use tokio::time::{MissedTickBehavior, interval};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::app::App;
use crate::config::{Config, LogFormat, LogSettings};
use crate::front;
use crate::log_lines::LogLines;

/// Serves until SIGINT or SIGTERM.
pub(crate) fn run(config: &Config) -> Result<(), Box<dyn Error>> {
    let log = begin_log(&config.settings.log)?;
    // One thread passes on more than most servers answer; the children have the other cores.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let served = runtime.block_on(serve(config, log.as_ref()));
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
    let app = App::new(settings, metrics)?;
    let listener = TcpListener::bind(settings.listen).await.map_err(|error| {
        let listen = settings.listen;
        let other = "`pool-proxy serve --listen 127.0.0.1:0 …` takes a free port";
        format!("cannot listen on {listen}: {error}. {other}")
    })?;
    announce(config, listener.local_addr()?);

    let ending = async {
        told_to_end.await;
        tracing::info!("told to end");
        app.stop.cancel();
        app.sessions.clear();
    };
    tokio::join!(front::serve(listener, &app), ending, upkeep(&app, log));
    close(&app).await;
    Ok(())
}

/// Resolves on SIGINT or SIGTERM, which are caught from now on.
#[cfg(unix)]
fn told_to_end() -> io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! { _ = interrupt.recv() => {} _ = terminate.recv() => {} }
    })
}

/// Resolves on Ctrl-C.
#[cfg(not(unix))]
fn told_to_end() -> io::Result<impl Future<Output = ()>> {
    Ok(async { drop(tokio::signal::ctrl_c().await) })
}

/// Ends all children.
async fn close(app: &Arc<App>) {
    let closes = app
        .servers
        .values()
        .map(|server| server.close(CHILDREN_GRACE));
    futures_util::future::join_all(closes).await;
    tracing::info!("ended");
}

/// What has to be looked at from time to time.
async fn upkeep(app: &Arc<App>, log: Option<&LogLines>) {
    let mut lost_before = 0;
    let mut ticks = interval(UPKEEP_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while app.stop.run_until_cancelled(ticks.tick()).await.is_some() {
        app.sessions.sweep();
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
        return Ok(None);
    }
    let lines = LogLines::begin(settings.lines_max, io::stderr())?;
    let levels = Targets::new()
        .with_default(LevelFilter::WARN)
        .with_target("pool_proxy", LevelFilter::INFO);
    let registry = tracing_subscriber::registry().with(levels);
    let layer = tracing_subscriber::fmt::layer()
        .with_writer(lines.clone())
        .with_ansi(false);
    match settings.format {
        LogFormat::Json => registry.with(layer.json().flatten_event(true)).init(),
        LogFormat::Human | LogFormat::Off => registry.with(layer).init(),
    }
    Ok(Some(lines))
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
/// How often idle sessions are looked for.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(1);
/// For children that must end: their input ends first.
const CHILDREN_GRACE: Duration = Duration::from_secs(5);
