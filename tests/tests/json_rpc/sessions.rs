//! A child that is held for one client.

use std::process::ExitStatus;

use pool_core::ConnectionPool;
use pool_stdio::{
    Exit, JsonRpcConnection, Protocol, RpcError, RpcLimits, ServerMessage, Session, Terms,
};
use serde_json::{Value, json};

use crate::bed::{Bed, on_both_runtimes};
use crate::{AMPLE, connector, server};

fn pool(bed: &Bed) -> ConnectionPool<JsonRpcConnection> {
    let connector = connector(bed, &server(), Protocol::Mcp).limits(RpcLimits {
        notifications_max: 2,
        ..RpcLimits::default()
    });
    ConnectionPool::builder(connector)
        .max_size(1)
        .build()
        .unwrap()
}

fn terms() -> Terms {
    Terms::new().within(AMPLE)
}

async fn ask(session: &Session, message: Value) -> Result<Option<Value>, RpcError> {
    let mut exchange = session.exchange(message.to_string(), &terms())?;
    let reply = exchange.reply().await?;
    Ok(reply.map(|reply| serde_json::from_slice(&reply).unwrap()))
}

fn request(id: u32, method: &str) -> Value {
    json!({ "jsonrpc": "2.0", "id": id, "method": method })
}

#[test]
fn questions_and_unattributed_notifications_go_to_the_client() {
    on_both_runtimes(async |bed| {
        let pool = pool(bed);
        let session = Session::new(pool.acquire().await.unwrap());
        let client = async {
            let Some(ServerMessage::Request(question)) = session.next().await else {
                panic!("a question is due")
            };
            assert_eq!(
                (question.method.as_str(), question.pid),
                ("roots/list", session.connection().process().pid())
            );
            let stranger = json!({ "jsonrpc": "2.0", "id": "other", "result": 1 });
            let error = ask(&session, stranger).await.unwrap_err();
            assert!(matches!(error, RpcError::BadRequest { .. }), "{error}");
            let answer = json!({ "jsonrpc": "2.0", "id": "asked", "result": ["/src"] });
            assert!(ask(&session, answer.clone()).await.unwrap().is_none());
            let twice = ask(&session, answer).await.unwrap_err();
            assert!(matches!(twice, RpcError::BadRequest { .. }), "{twice}");
        };
        let (reply, ()) = tokio::join!(ask(&session, request(1, "ask")), client);
        assert_eq!(reply.unwrap().unwrap()["result"]["result"], json!(["/src"]));

        for _ in 0..3 {
            let news = json!({ "jsonrpc": "2.0", "method": "echo/news" });
            assert!(ask(&session, news).await.unwrap().is_none());
        }
        ask(&session, request(2, "ping")).await.unwrap();
        for _ in 0..2 {
            let Some(ServerMessage::Notification(news)) = session.next().await else {
                panic!("news are due")
            };
            assert_eq!(news.method, "echo/news");
        }
        let news = json!({ "jsonrpc": "2.0", "method": "echo/late" });
        ask(&session, news).await.unwrap();
        let Some(ServerMessage::Notification(late)) = session.next().await else {
            panic!("news are due")
        };
        assert_eq!(
            (late.method.as_str(), late.missed),
            ("echo/late", 1),
            "the queue is bounded"
        );
    });
}

#[test]
fn initialize_is_forwarded_once_and_answered_here_if_the_connector_did_it() {
    on_both_runtimes(async |bed| {
        let pool = pool(bed);
        let session = Session::new(pool.acquire().await.unwrap());
        let hello = request(1, "initialize");
        let reply = ask(&session, hello.clone()).await.unwrap().unwrap();
        assert_eq!(reply["result"]["pid"], session.connection().process().pid());
        let error = ask(&session, hello.clone()).await.unwrap_err();
        assert!(matches!(error, RpcError::BadRequest { .. }), "{error}");

        let connector = connector(bed, &server(), Protocol::Mcp);
        let connector = connector.initialize(&json!({})).unwrap();
        let pool = ConnectionPool::builder(connector).build().unwrap();
        let session = Session::new(pool.acquire().await.unwrap());
        for _ in 0..2 {
            let reply = ask(&session, hello.clone()).await.unwrap().unwrap();
            assert_eq!(reply["result"]["pid"], session.connection().process().pid());
        }
    });
}

#[test]
fn an_answer_that_is_dropped_unsent_leaves_its_question_open() {
    on_both_runtimes(async |bed| {
        let pool = pool(bed);
        let session = Session::new(pool.acquire().await.unwrap());
        let client = async {
            session.next().await.unwrap();
            let answer = json!({ "jsonrpc": "2.0", "id": "asked", "result": 1 }).to_string();
            drop(session.exchange(answer.clone(), &terms()).unwrap());
            let mut first = session.exchange(answer.clone(), &terms()).unwrap();
            let mut second = session.exchange(answer, &terms()).unwrap();
            assert!(first.reply().await.unwrap().is_none());
            let twice = second.reply().await.unwrap_err();
            assert!(matches!(twice, RpcError::BadRequest { .. }), "{twice}");
        };
        let (reply, ()) = tokio::join!(ask(&session, request(1, "ask")), client);
        assert_eq!(reply.unwrap().unwrap()["result"]["result"], 1);
    });
}

#[test]
fn an_initialize_is_used_up_by_a_child_that_accepts_it() {
    on_both_runtimes(async |bed| {
        let pool = pool(bed);
        let session = Session::new(pool.acquire().await.unwrap());
        let hello = request(1, "initialize");
        // Not sent.
        drop(session.exchange(hello.to_string(), &terms()).unwrap());
        // Not a request.
        let notification = json!({ "jsonrpc": "2.0", "method": "initialize" });
        ask(&session, notification).await.unwrap();
        // Refused by the child.
        let bad = json!({ "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": "refuse" });
        let reply = ask(&session, bad).await.unwrap().unwrap();
        assert!(reply["error"].is_object(), "{reply}");
        let reply = ask(&session, hello.clone()).await.unwrap().unwrap();
        assert!(reply["result"].is_object(), "{reply}");
        let error = ask(&session, hello).await.unwrap_err();
        assert!(matches!(error, RpcError::BadRequest { .. }), "{error}");
    });
}

#[test]
fn a_client_that_leaves_does_not_leave_its_child_waiting() {
    on_both_runtimes(async |bed| {
        let pool = pool(bed);
        let session = Session::new(pool.acquire().await.unwrap()).reuse_child();
        let pid = session.connection().process().pid();
        let mut asking = session
            .exchange(request(1, "ask").to_string(), &terms())
            .unwrap();
        let question = async { session.next().await.unwrap() };
        tokio::select! {
            biased;
            outcome = asking.reply() => panic!("{outcome:?}"),
            question = question => assert!(matches!(question, ServerMessage::Request(_))),
        }
        drop(session);
        let reply = asking.reply().await.unwrap().unwrap();
        let reply: Value = serde_json::from_slice(&reply).unwrap();
        assert_eq!(reply["result"]["error"]["code"], -32000);
        // It owes nothing, and was said to keep nothing.
        let session = Session::new(pool.acquire().await.unwrap());
        assert_eq!(session.connection().process().pid(), pid);
    });
}

#[test]
fn a_child_of_a_session_serves_no_other_client() {
    on_both_runtimes(async |bed| {
        let connector = connector(bed, &server(), Protocol::Mcp);
        let pool = ConnectionPool::builder(connector).max_size(1);
        let pool = pool.build().unwrap();
        let session = Session::new(pool.acquire().await.unwrap());
        ask(&session, request(1, "ping")).await.unwrap();
        let (pid, child) = (
            session.connection().process().pid(),
            session.connection().process(),
        );
        let exited = child.exited();
        drop(session);
        // It is asked to leave, since it is in order.
        assert_eq!(exited.await, Exit::Status(ExitStatus::default()));
        let lease = pool.acquire().await.unwrap();
        assert_ne!(lease.process().pid(), pid);
    });
}

#[test]
fn a_child_that_owes_something_to_a_client_is_not_given_to_the_next() {
    on_both_runtimes(async |bed| {
        let pool = pool(bed);
        let session = Session::new(pool.acquire().await.unwrap());
        let pid = session.connection().process().pid();
        let mut held = session
            .exchange(request(1, "hold").to_string(), &terms())
            .unwrap();
        tokio::select! {
            biased;
            outcome = held.reply() => panic!("{outcome:?}"),
            pinged = ask(&session, request(2, "ping")) => drop(pinged.unwrap()),
        }
        drop((session, held));
        let session = Session::new(pool.acquire().await.unwrap());
        assert_ne!(session.connection().process().pid(), pid);
    });
}

#[test]
fn a_session_learns_the_end_of_its_child() {
    on_both_runtimes(async |bed| {
        let pool = pool(bed);
        let session = Session::new(pool.acquire().await.unwrap());
        let exit = json!({ "jsonrpc": "2.0", "id": 1, "method": "exit", "params": [3] });
        let (outcome, next) = tokio::join!(ask(&session, exit), session.next());
        // Its exit may be seen later than the end of its output.
        assert!(matches!(
            outcome.unwrap_err(),
            RpcError::ProcessExited { .. } | RpcError::OutputClosed { .. }
        ));
        assert!(next.is_none() && session.next().await.is_none());
    });
}
