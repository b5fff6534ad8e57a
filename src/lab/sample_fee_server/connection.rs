//! A client's connection, which can be cut in the middle of a call. A web framework always answers, so cutting needs
//! control over the connection: hence `lab::listener` and this task.

use std::future::pending;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::response::{IntoResponse, Response};
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use parking_lot::Mutex;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::select;
use tokio_util::sync::CancellationToken;

use super::fault_injector::{CallFault, CallPlan};
use super::{Inner, answers, routes};

/// A handle on the connection of a call; every handler has one.
#[derive(Clone)]
pub(super) struct Connection {
    pub server: Arc<Inner>,
    cut: CancellationToken,
    /// The bytes that are still sent when the connection is cut.
    final_bytes: Arc<Mutex<Vec<u8>>>,
}

impl Connection {
    pub fn new(server: Arc<Inner>, cut: CancellationToken) -> Self {
        Self { server, cut, final_bytes: Arc::default() }
    }

    /// Answers calls until the client hangs up, the connection is cut or the server closes.
    pub async fn serve(self, stream: TcpStream) {
        // This fails only if the client has gone, which shows soon.
        let _ = stream.set_nodelay(true);
        // Child tokens, because many connections that wait on one token contend for its lock at every wake-up.
        let (cut, closing) = (self.cut.clone(), self.server.closing.child_token());
        let final_bytes = Arc::clone(&self.final_bytes);
        let service = TowerToHyperService::new(routes::router().with_state(self));
        let mut http = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
        let in_order = select! {
            biased;
            _ = &mut http => return,
            () = cut.cancelled() => false,
            () = closing.cancelled() => true,
        };
        if in_order {
            Pin::new(&mut http).graceful_shutdown();
            select! {
                _ = &mut http => return,
                () = cut.cancelled() => {}
            }
        }
        let mut stream = http.into_parts().io.into_inner();
        let final_bytes = std::mem::take(&mut *final_bytes.lock());
        if final_bytes.is_empty() {
            // With this option, closing sends a reset.
            let _ = stream.set_zero_linger();
        } else if stream.write_all(&final_bytes).await.is_ok() {
            let _ = stream.shutdown().await;
        }
    }

    /// Answers a call with the delay and the fault of its plan.
    pub async fn inject(&self, plan: CallPlan, act: impl FnOnce(&Inner) -> Response + Send + 'static) -> Response {
        match plan.fault {
            None => self.act_after(plan.wait, act).await,
            Some(CallFault::Fail) => {
                self.act_after(plan.wait, |server| routes::failure(&server.injector.faults())).await
            }
            Some(CallFault::Reset) => {
                tokio::time::sleep(plan.wait).await;
                self.hang_up().await
            }
            Some(CallFault::CommitReset) => {
                self.act_after(plan.wait, act).await;
                self.hang_up().await
            }
            Some(CallFault::CommitFail) => {
                self.act_after(plan.wait, act).await;
                routes::failed_after_commit(&self.server.injector.faults())
            }
            Some(CallFault::Poison(poison)) => answers::poisoned(self.act_after(plan.wait, act).await, poison).await,
            Some(CallFault::Page(page)) => self.act_after(plan.wait, move |_| page.answer()).await,
            Some(CallFault::Cut(cut)) => {
                let answer = self.act_after(plan.wait, act).await;
                *self.final_bytes.lock() = cut.bytes(answer).await;
                self.hang_up().await
            }
            Some(CallFault::SlowBody) => {
                let pause = self.server.injector.faults().slow_body;
                answers::slow(self.act_after(plan.wait, act).await, pause).await
            }
            Some(CallFault::Storm(left)) => answers::refused_by_storm(left),
            Some(CallFault::Hang) => {
                self.server.closing.cancelled().await;
                self.hang_up().await
            }
        }
    }

    /// Runs `act` after the wait, even if the client has hung up: a remote server would not notice either.
    async fn act_after(&self, wait: Duration, act: impl FnOnce(&Inner) -> Response + Send + 'static) -> Response {
        if wait.is_zero() {
            return act(&self.server);
        }
        let server = Arc::clone(&self.server);
        let acting = self.server.work.spawn(async move {
            tokio::time::sleep(wait).await;
            act(&server)
        });
        acting.await.unwrap_or_else(|error| routes::Problem::bug(&error).into_response())
    }

    /// Cuts the connection without an answer.
    async fn hang_up(&self) -> Response {
        self.cut.cancel();
        pending().await
    }
}
