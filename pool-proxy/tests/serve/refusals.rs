//! What is refused before a child sees it.

use hyper::{Method, StatusCode};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::client::{Client, NEWEST, tool};
use crate::proxy::{Beacon, Proxy, legacy, refused_start, scratch};
use crate::run;

#[test]
fn strange_heads_and_bodies_get_a_clear_status_and_reach_no_child() {
    run(async {
        let beacon = Beacon::new();
        let http = "[http]\nbody_bytes_max = 2048\n";
        let proxy = Proxy::configured(&format!("{http}{}", legacy(&beacon, "sharing = 'shared'")));
        let client = Client::new(proxy.address);
        let call = tool(1, "pid", json!({})).to_string();
        let at = |path: &str| Client::at(proxy.address, path);
        let large = "x".repeat(4096);
        let cases = [
            (client.with("host", "evil.example"), &*call, 403),
            (client.without("host"), &*call, 403),
            (client.with("origin", "http://evil.example"), &*call, 403),
            (client.with("origin", "null"), &*call, 403),
            (client.with("content-type", "text/plain"), &*call, 415),
            (client.without("content-type"), &*call, 415),
            (client.with("accept", "application/json"), &*call, 406),
            (client.with("mcp-protocol-version", "1.0"), &*call, 400),
            (client.with("mcp-session-id", "guessed"), &*call, 404),
            (client.also("content-type", "application/json"), &*call, 400),
            (
                client
                    .with("mcp-protocol-version", NEWEST)
                    .also("mcp-protocol-version", NEWEST),
                &*call,
                400,
            ),
            (
                client.with("mcp-name", "pid").also("mcp-name", "exit"),
                &*call,
                400,
            ),
            (client.clone(), "", 400),
            (client.clone(), "{", 400),
            (client.clone(), "[]", 400),
            (
                client.clone(),
                r#"{"jsonrpc":"2.0","id":1,"id":2,"method":"ping"}"#,
                400,
            ),
            (client.clone(), &*large, 413),
            (at("/servers/other/mcp"), &*call, 404),
            (at("/servers/../mcp"), &*call, 404),
            (at("/servers/legacy/mcp/"), &*call, 404),
            (at("/"), &*call, 404),
            (at("http://other.example/mcp"), &*call, 400),
        ];
        for (client, body, status) in cases {
            let mut reply = client.send(Method::POST, body.to_owned()).await;
            let text = reply.text().await;
            assert_eq!(reply.status.as_u16(), status, "{body}: {text}");
            assert!(!text.is_empty(), "a refusal says why");
        }
        assert_eq!(
            client.send(Method::PUT, "").await.status,
            StatusCode::METHOD_NOT_ALLOWED
        );
        // As a browser asks.
        let page = client.with("accept", "text/html,*/*;q=0.8");
        let mut reply = page.send(Method::GET, "").await;
        assert_eq!(reply.status, StatusCode::BAD_REQUEST);
        let said = reply.text().await;
        assert!(
            said.contains("give this address to an MCP client"),
            "{said}"
        );
        let old = client.with("mcp-protocol-version", "2024-11-05");
        let said = old.send(Method::POST, call.clone()).await.text().await;
        let known = "2025-03-26, 2025-06-18, 2025-11-25, or 2026-07-28";
        assert!(said.contains(known), "{said}");
        assert_counted(&at("/metrics")).await;
        assert!(beacon.is_quiet().await, "no child was started");
        assert_eq!(
            at("/servers/legacy/mcp")
                .call(1, "echo", json!({ "text": "a" }))
                .await,
            "a"
        );
    });
}

async fn assert_counted(metrics: &Client) {
    let metrics = metrics.send(Method::GET, "").await.text().await;
    for (status, reason, count) in [
        (403, "host", 2),
        (403, "origin", 2),
        (415, "type", 2),
        (406, "accept", 1),
        (400, "version", 2),
        (404, "session", 1),
        (400, "header", 3),
        (400, "message", 4),
        (413, "body", 1),
        (404, "path", 4),
    ] {
        let line = format!(r#"proxy_refused_total{{status="{status}",reason="{reason}"}} {count}"#);
        assert!(metrics.contains(&line), "{line}: {metrics}");
    }
}

#[test]
fn a_message_that_not_everybody_reads_alike_is_refused_and_a_long_id_comes_back_as_it_was() {
    run(async {
        let beacon = Beacon::new();
        let proxy = Proxy::configured(&legacy(&beacon, "sharing = 'shared'"));
        let client = Client::new(proxy.address);
        for body in [
            r#"{"jsonrpc":"2.0","id":1e999,"method":"tasks/get"}"#,
            r#"{"jsonrpc":"2.0","id":"\ud800","method":"tasks/get"}"#,
            r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"pid","name":"pid"}}"#,
        ] {
            let mut reply = client.send(Method::POST, body).await;
            let text = reply.text().await;
            assert_eq!(reply.status, StatusCode::BAD_REQUEST, "{body}: {text}");
        }
        let long = r#"{"jsonrpc":"2.0","id":123456789012345678901234567890,"method":"tasks/get"}"#;
        let refused = client.send(Method::POST, long).await.text().await;
        let id = r#""id":123456789012345678901234567890,"#;
        assert!(refused.contains(id), "{refused}");
        assert!(beacon.is_quiet().await, "no child was started");
    });
}

#[test]
fn the_short_path_is_for_one_server_only() {
    run(async {
        let beacon = Beacon::new();
        let other = "[servers.other]\ncommand = ['cat']\n";
        let proxy = Proxy::configured(&format!("{}{other}", legacy(&beacon, "")));
        let call = tool(1, "pid", json!({}));
        let mut reply = Client::new(proxy.address).post(&call).await;
        assert_eq!(reply.status, StatusCode::NOT_FOUND);
        let servers = "/servers/legacy/mcp\n/servers/other/mcp\n";
        assert!(reply.text().await.ends_with(servers));
    });
}

#[test]
fn what_is_too_long_or_too_slow_gets_a_status_or_loses_its_connection() {
    run(async {
        let beacon = Beacon::new();
        let with = |http: &str| {
            let server = legacy(&beacon, "sharing = 'shared'");
            Proxy::configured(&format!("[http]\n{http}\n{server}"))
        };
        let answer = async |proxy: &Proxy, part: &str| {
            let mut stream = TcpStream::connect(proxy.address).await.unwrap();
            let head = format!("POST /mcp HTTP/1.1\r\nhost: {}\r\n{part}", proxy.address);
            stream.write_all(head.as_bytes()).await.unwrap();
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).await.unwrap();
            String::from_utf8(answer).unwrap()
        };
        let small = with("head_bytes_max = '8 KiB'");
        let large = Client::new(small.address);
        let large = large.with("x-large", &"x".repeat(16 << 10));
        let reply = large.post(&tool(1, "pid", json!({}))).await;
        assert_eq!(reply.status, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);

        let slow_body = with("body_timeout = '100ms'");
        let head =
            "content-type: application/json\r\nconnection: close\r\ncontent-length: 9\r\n\r\n{";
        let said = answer(&slow_body, head).await;
        assert!(said.starts_with("HTTP/1.1 408 "), "{said}");

        let slow_head = with("head_timeout = '100ms'");
        let said = answer(&slow_head, "content-le").await;
        assert!(
            said.is_empty() || said.starts_with("HTTP/1.1 408 "),
            "{said}"
        );
        assert!(beacon.is_quiet().await, "no child was started");
    });
}

#[test]
fn a_page_of_a_known_origin_may_ask_and_see_its_session() {
    run(async {
        let beacon = Beacon::new();
        let http = "[http]\nallowed_origins = ['https://app.example']\n";
        let proxy = Proxy::configured(&format!("{http}{}", legacy(&beacon, "")));
        let page = Client::new(proxy.address).with("origin", "https://app.example");
        let preflight = page.send(Method::OPTIONS, "").await;
        assert_eq!(preflight.status, StatusCode::NO_CONTENT);
        let allowed = preflight.headers["access-control-allow-headers"]
            .to_str()
            .unwrap();
        assert!(allowed.contains("Mcp-Session-Id"));
        let wanted = "content-type,mcp-param-region, Mcp-Param-Count,x-other,mcp-param";
        let asking = page.with("access-control-request-headers", wanted);
        let preflight = asking.send(Method::OPTIONS, "").await;
        let allowed = preflight.headers.get_all("access-control-allow-headers");
        let allowed: Vec<_> = allowed
            .iter()
            .flat_map(|names| names.to_str().unwrap().split(", "))
            .collect();
        for name in ["Content-Type", "mcp-param-region", "Mcp-Param-Count"] {
            assert!(allowed.contains(&name), "{allowed:?}");
        }
        for name in ["x-other", "mcp-param"] {
            assert!(!allowed.contains(&name), "{allowed:?}");
        }
        let session = page.begin(NEWEST).await;
        let reply = session.post(&tool(1, "pid", json!({}))).await;
        assert_eq!(
            reply.headers["access-control-allow-origin"],
            "https://app.example"
        );
        assert_eq!(
            reply.headers["access-control-expose-headers"],
            "Mcp-Session-Id"
        );
    });
}

#[test]
fn without_a_known_token_nothing_is_told() {
    run(async {
        let beacon = Beacon::new();
        let hash = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"; // test
        let tokens = format!(
            "[tokens.a]\nsha256 = '{hash}'\nservers = ['other']\n[servers.other]\ncommand = ['cat']\n"
        );
        let proxy = Proxy::configured(&legacy(&beacon, &format!("sharing = 'shared'\n{tokens}")));
        let client = Client::at(proxy.address, "/servers/legacy/mcp");
        let call = tool(1, "pid", json!({}));
        for stranger in [client.clone(), client.with("authorization", "Bearer tes")] {
            let mut reply = stranger.post(&call).await;
            assert_eq!(reply.status, StatusCode::UNAUTHORIZED);
            assert_eq!(reply.headers["www-authenticate"], "Bearer");
            let said = reply.text().await;
            assert!(said.contains("Authorization: Bearer TOKEN"), "{said}");
        }
        let known = client.with("authorization", "Bearer test");
        let mut reply = known.post(&call).await;
        assert_eq!(reply.status, StatusCode::NOT_FOUND, "not its server");
        let said = reply.text().await;
        assert!(said.contains("/servers/other/mcp"), "{said}");
        assert!(!said.contains("legacy"), "{said}");
        assert!(beacon.is_quiet().await);
    });
}

#[test]
fn a_start_that_makes_no_sense_is_refused_with_the_reason() {
    for (words, reason) in [
        (&["serve"][..], "no server"),
        (
            &["serve", "--", "no-such-program-anywhere"],
            "no-such-program-anywhere",
        ),
        (
            &["serve", "--listen", "0.0.0.0:0", "--", "cat"],
            "[tokens.NAME] in the configuration file, or add --without-tokens",
        ),
        (&["serve", "--config", "/no/such/file"], "/no/such/file"),
        (&["serve", "--listne", "127.0.0.1:0"], "--listen"),
        (&["srve", "--", "cat"], "'serve'"),
        (
            &["--", "python3", "server.py"],
            "Type:\n  pool-proxy serve -- python3 server.py\n",
        ),
        (
            &["python3", "server.py"],
            "Type:\n  pool-proxy serve -- python3 server.py\n",
        ),
        (
            &["--listen", "127.0.0.1:0", "cat"],
            "Type:\n  pool-proxy serve --listen 127.0.0.1:0 -- cat\n",
        ),
        (
            &["--config", "proxy.toml"],
            "Type:\n  pool-proxy serve --config proxy.toml\n",
        ),
        (&["serve", "cat -u"], "several words in one"),
        (&["serve", "--listen", "127.0.0.1", "cat"], "127.0.0.1:8080"),
        (&["serve", "--listen", "[::1]", "cat"], "port"),
        (&["serve", "--listen", "9000", "cat"], "127.0.0.1:9000"),
        (
            &["serve", "--listen", "localhost:9000", "cat"],
            "127.0.0.1:9000",
        ),
    ] {
        let said = refused_start(words);
        assert!(said.contains(reason), "{words:?}: {said}");
    }
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let said = refused_start(&["serve", "--listen", &address, "--", "cat"]);
    let reason = format!("cannot listen on {address}: Address already in use");
    assert!(
        said.contains(&reason) && said.contains("--listen 127.0.0.1:0"),
        "{said}"
    );
    drop(taken);
    let file = std::env::temp_dir().join(format!("pool-proxy-{}-typo.toml", std::process::id()));
    std::fs::write(
        &file,
        "[servers.a]\ncommand = ['cat']\nsharring = 'shared'\n",
    )
    .unwrap();
    let said = refused_start(&["serve", "--config", file.to_str().unwrap()]);
    std::fs::remove_file(&file).unwrap();
    assert!(said.contains("did you mean `sharing`?"), "{said}");
}

/// A key that does not exist has the program name all that do.
fn keys(table: &str) -> Vec<String> {
    let file = scratch("toml");
    std::fs::write(&file, format!("{table}\nno_such_key = 1\n")).unwrap();
    let said = refused_start(&["serve", "--config", file.to_str().unwrap()]);
    std::fs::remove_file(&file).unwrap();
    let (_, known) = said.split_once(", expected ").expect(&said);
    let known = known.lines().next().unwrap_or_default().split('`');
    known.skip(1).step_by(2).map(str::to_owned).collect()
}

#[test]
fn each_key_of_the_configuration_has_a_row_in_the_documentation_with_a_reason() {
    let document = format!("{}/../docs/proxy.md", env!("CARGO_MANIFEST_DIR"));
    let document = std::fs::read_to_string(document).unwrap();
    let mut documented = 0;
    for (table, prefix) in [
        ("", ""),
        ("[http]", "http."),
        ("[limits]", "limits."),
        ("[log]", "log."),
        ("[tokens.a]", "tokens.NAME."),
        ("[servers.a]", "servers.NAME."),
    ] {
        for key in keys(table) {
            let inner = ["http", "limits", "log", "tokens", "servers"];
            if table.is_empty() && inner.contains(&&*key) {
                continue;
            }
            let name = match &*key {
                "tool_timeouts" => "tool_timeouts.TOOL",
                key => key,
            };
            let begin = format!("| `{prefix}{name}` |");
            let row = document.lines().find(|line| line.starts_with(&begin));
            let row = row.unwrap_or_else(|| panic!("there is no row of {prefix}{name}"));
            let cells: Vec<_> = row.trim_matches('|').split('|').map(str::trim).collect();
            assert!(
                cells.len() == 5 && cells.iter().all(|cell| !cell.is_empty()),
                "key, unit, default, meaning, why: {row}"
            );
            documented += 1;
        }
    }
    let rows = |line: &&str| {
        let tables = ["listen", "http.", "limits.", "log.", "tokens.", "servers."];
        tables
            .iter()
            .any(|table| line.starts_with(&format!("| `{table}")))
    };
    assert_eq!(
        document.lines().filter(rows).count(),
        documented,
        "no row without a key"
    );
}
