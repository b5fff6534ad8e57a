//! One client's connection, which can be cut in the middle of a call. A web framework always answers; to answer
//! nothing, the connection has to be taken out of its hands. Hence our own accept loop in `port` and this task.

use std::future::pending;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::response::{IntoResponse, Response};
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::select;
use tokio_util::sync::CancellationToken;

use super::weather::{Fate, Fault};
use super::{Inner, answers, locked, routes};

/// A handle on the connection that a call came by; every handler has one.
#[derive(Clone)]
pub(super) struct Connection {
    pub server: Arc<Inner>,
    cut: CancellationToken,
    /// What is still sent, byte for byte, when the connection is cut.
    last_words: Arc<Mutex<Vec<u8>>>,
}

impl Connection {
    pub fn new(server: Arc<Inner>, cut: CancellationToken) -> Self {
        Self { server, cut, last_words: Arc::default() }
    }

    /// Answers calls until the client hangs up, the connection is cut or the server closes.
    pub async fn serve(self, stream: TcpStream) {
        // A failure would mean that the client is gone already, which shows soon enough.
        let _ = stream.set_nodelay(true);
        // Children, because many connections waiting on one token would fight for its lock at every wake-up.
        let (cut, closing) = (self.cut.clone(), self.server.closing.child_token());
        let last_words = Arc::clone(&self.last_words);
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
        let last_words = std::mem::take(&mut *locked(&last_words));
        if last_words.is_empty() {
            // Without lingering the kernel sends a reset instead of an orderly end.
            let _ = stream.set_zero_linger();
        } else if stream.write_all(&last_words).await.is_ok() {
            let _ = stream.shutdown().await;
        }
    }

    /// Does what a call asks for, as late and as badly as its fate wants it.
    pub async fn meet(&self, fate: Fate, act: impl FnOnce(&Inner) -> Response + Send + 'static) -> Response {
        match fate.fault {
            None => self.act_after(fate.wait, act).await,
            Some(Fault::Fail) => self.act_after(fate.wait, |server| routes::failure(&server.weather.faults())).await,
            Some(Fault::Reset) => {
                tokio::time::sleep(fate.wait).await;
                self.hang_up().await
            }
            Some(Fault::CommitReset) => {
                self.act_after(fate.wait, act).await;
                self.hang_up().await
            }
            Some(Fault::CommitFail) => {
                self.act_after(fate.wait, act).await;
                routes::failed_after_commit(&self.server.weather.faults())
            }
            Some(Fault::Poison(poison)) => answers::poisoned(self.act_after(fate.wait, act).await, poison).await,
            Some(Fault::Page(page)) => self.act_after(fate.wait, move |_| page.answer()).await,
            Some(Fault::Cut(cut)) => {
                let answer = self.act_after(fate.wait, act).await;
                *locked(&self.last_words) = cut.bytes(answer).await;
                self.hang_up().await
            }
            Some(Fault::SlowBody) => {
                let pause = self.server.weather.faults().slow_body;
                answers::slow(self.act_after(fate.wait, act).await, pause).await
            }
            Some(Fault::Storm(left)) => answers::refused_by_storm(left),
            Some(Fault::Hang) => {
                self.server.closing.cancelled().await;
                self.hang_up().await
            }
        }
    }

    /// Acts at the end of the wait, also when the client has hung up by then: a remote server would not notice either.
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

    /// Cuts the connection; the call is never answered.
    async fn hang_up(&self) -> Response {
        self.cut.cancel();
        pending().await
    }
}
