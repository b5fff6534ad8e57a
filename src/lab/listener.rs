//! A listening port that can be shut, so that the kernel refuses connections, and opened again.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    select,
    sync::Mutex,
    task::JoinHandle,
    time::sleep,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Connections that the kernel queues.
const BACKLOG: u32 = 1024;
/// The pause after a failed accept: usually the process is out of file descriptors, and retrying at once would spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves connections while it is open. Dropping it cuts them all.
pub(super) struct Listener {
    addr: SocketAddr,
    service: Arc<Service>,
    /// `None` while it is being opened or shut, and for good if that failed.
    port: Mutex<Option<Port>>,
}

/// What the port's tasks share.
struct Service {
    /// Serves a connection, until the token is cancelled.
    serve: Box<dyn Fn(TcpStream, CancellationToken) -> BoxFuture<'static, ()> + Send + Sync>,
    /// Runs all tasks.
    work: TaskTracker,
    /// Ends the listening, and not the connections.
    closing: CancellationToken,
    /// Ends everything.
    everything: CancellationToken,
}

enum Port {
    Open {
        /// Cancelling it ends the listening and cuts every connection.
        cut: CancellationToken,
        accepting: JoinHandle<()>,
        connections: TaskTracker,
    },
    /// Bound but not listening: connections are refused, and no other process can take the port.
    Shut(TcpSocket),
}

impl Listener {
    /// Listens on `bind` (port 0 takes a free one), until `closing` is cancelled, by tasks of `work`.
    ///
    /// # Errors
    /// The address cannot be bound.
    pub fn start(
        bind: SocketAddr,
        work: TaskTracker,
        closing: CancellationToken,
        serve: impl Fn(TcpStream, CancellationToken) -> BoxFuture<'static, ()> + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let socket = socket(bind)?;
        let addr = socket.local_addr()?;
        let service = Service { serve: Box::new(serve), work, closing, everything: CancellationToken::new() };
        let service = Arc::new(service);
        let port = Mutex::new(Some(Port::Shut(socket).open(&service)?));
        Ok(Self { addr, service, port })
    }

    /// The same on a free local port; a connection that is cut is dropped, whatever `serve` does.
    #[cfg(feature = "lab")]
    pub fn local<F>(serve: impl Fn(TcpStream) -> F + Send + Sync + 'static) -> io::Result<Self>
    where
        F: Future<Output = io::Result<()>> + Send + 'static,
    {
        Self::start(([127, 0, 0, 1], 0).into(), TaskTracker::new(), CancellationToken::new(), move |stream, cut| {
            let serving = serve(stream);
            Box::pin(async move {
                // Dropping the future ends the connection. With a half-read call the kernel sends a reset.
                cut.run_until_cancelled(serving).await;
            })
        })
    }

    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Cuts all connections and refuses new ones. A shut port stays shut.
    ///
    /// # Errors
    /// The port was lost to another process.
    pub async fn shut(&self) -> io::Result<()> {
        let mut port = self.port.lock().await;
        *port = Some(port.take().ok_or_else(lost)?.shut(self.addr).await?);
        Ok(())
    }

    /// Accepts connections again. An open port stays open.
    ///
    /// # Errors
    /// The port was lost to another process.
    pub async fn open(&self) -> io::Result<()> {
        let mut port = self.port.lock().await;
        *port = Some(port.take().ok_or_else(lost)?.open(&self.service)?);
        Ok(())
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.service.everything.cancel();
    }
}

impl Port {
    fn open(self, service: &Arc<Service>) -> io::Result<Self> {
        let Self::Shut(socket) = self else { return Ok(self) };
        let listener = socket.listen(BACKLOG)?;
        let (cut, connections) = (service.everything.child_token(), TaskTracker::new());
        let accepting = accept(listener, Arc::clone(service), cut.clone(), connections.clone());
        let accepting = service.work.spawn(accepting);
        Ok(Self::Open { cut, accepting, connections })
    }

    async fn shut(self, addr: SocketAddr) -> io::Result<Self> {
        let Self::Open { cut, accepting, connections } = self else { return Ok(self) };
        cut.cancel();
        // The listener must be gone before the port can be bound again.
        let _ = accepting.await;
        connections.close();
        connections.wait().await;
        socket(addr).map(Self::Shut)
    }
}

async fn accept(listener: TcpListener, service: Arc<Service>, cut: CancellationToken, connections: TaskTracker) {
    loop {
        let accepted = select! {
            accepted = listener.accept() => accepted,
            () = cut.cancelled() => return,
            () = service.closing.cancelled() => return,
        };
        match accepted {
            Ok((stream, _)) => {
                let serving = (service.serve)(stream, cut.child_token());
                service.work.spawn(connections.track_future(serving));
            }
            Err(error) => {
                tracing::debug!(%error, "accepting a connection failed");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// A socket that is bound and does not listen.
fn socket(addr: SocketAddr) -> io::Result<TcpSocket> {
    let socket = if addr.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // Earlier connections in TIME_WAIT must not prevent the bind.
    socket.set_reuseaddr(true)?;
    socket.bind(addr)?;
    Ok(socket)
}

fn lost() -> io::Error {
    io::Error::new(io::ErrorKind::AddrInUse, "the port was lost to another process")
}
