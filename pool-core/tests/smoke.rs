//! smoke
use pool_core::*;
use std::time::Duration;
struct C;
#[async_trait]
impl Connector for C {
    type Connection = u64;
    async fn connect(&self, cx: &ConnectContext) -> Result<u64, ConnectError> {
        Ok(cx.id.as_u64())
    }
}
#[tokio::test(start_paused = true)]
async fn smoke() {
    let pool = ConnectionPool::builder(C).max_size(2).build().unwrap();
    let a = pool.acquire().await.unwrap();
    let b = pool.acquire().await.unwrap();
    println!("{:?}", pool.status());
    let e = pool
        .acquire_within(Duration::from_millis(50))
        .await
        .unwrap_err();
    println!("{e}");
    let p2 = pool.clone();
    let t = tokio::spawn(async move {
        let l = p2.acquire().await.unwrap();
        *l
    });
    tokio::task::yield_now().await;
    drop(a);
    assert_eq!(t.await.unwrap(), 0);
    drop(b);
    println!("{:?}", pool.status());
    tokio::time::sleep(Duration::from_secs(700)).await;
    println!("{:?}", pool.status());
    println!("{:?}", pool.close(Duration::from_secs(1)).await);
}
