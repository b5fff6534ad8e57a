//! The listening port: open, or shut so that the kernel refuses connections.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket};
use tokio::select;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Inner;
use super::connection::Connection;

/// Connections that the kernel queues.
const BACKLOG: u32 = 1024;

/// The pause after a failed accept: usually the process is out of file descriptors, and retrying at once would spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

pub(super) enum Port {
    Open {
        addr: SocketAddr,
        /// Cancelling it ends the listening and cuts every connection.
        everything: CancellationToken,
        accepting: JoinHandle<()>,
        connections: TaskTracker,
    },
    /// Bound but not listening: connections are refused, and no other process can take the port.
    Shut(TcpSocket),
}

impl Port {
    /// A port that is bound but not open yet.
    pub fn bind(addr: SocketAddr) -> io::Result<Self> {
        let socket = if addr.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        // Earlier connections in TIME_WAIT must not prevent the bind.
        socket.set_reuseaddr(true)?;
        socket.bind(addr)?;
        Ok(Self::Shut(socket))
    }

    pub fn addr(&self) -> io::Result<SocketAddr> {
        match self {
            Self::Open { addr, .. } => Ok(*addr),
            Self::Shut(socket) => socket.local_addr(),
        }
    }

    /// Accepts connections from now on; an open port stays open.
    pub fn open(self, server: &Arc<Inner>) -> io::Result<Self> {
        let Self::Shut(socket) = self else { return Ok(self) };
        let listener = socket.listen(BACKLOG)?;
        let addr = listener.local_addr()?;
        let everything = server.all_connections.child_token();
        let connections = TaskTracker::new();
        let accepting = accept(listener, Arc::clone(server), everything.clone(), connections.clone());
        let accepting = server.work.spawn(accepting);
        Ok(Self::Open { addr, everything, accepting, connections })
    }

    /// Cuts all connections and refuses new ones; a shut port stays shut.
    pub async fn shut(self) -> io::Result<Self> {
        let Self::Open { addr, everything, accepting, connections } = self else { return Ok(self) };
        everything.cancel();
        // The listener must be gone before the port can be bound again.
        let _ = accepting.await;
        connections.close();
        connections.wait().await;
        Self::bind(addr)
    }
}

async fn accept(listener: TcpListener, server: Arc<Inner>, everything: CancellationToken, connections: TaskTracker) {
    loop {
        let accepted = select! {
            accepted = listener.accept() => accepted,
            () = everything.cancelled() => return,
            () = server.closing.cancelled() => return,
        };
        match accepted {
            Ok((stream, _)) => {
                let connection = Connection::new(Arc::clone(&server), everything.child_token());
                server.work.spawn(connections.track_future(connection.serve(stream)));
            }
            Err(error) => {
                tracing::debug!(%error, "accepting a connection failed");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}
