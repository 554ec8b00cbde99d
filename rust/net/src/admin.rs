//! Receives HTTP requests of operators, scrapers and publishers on an address of its own · hands them to a
//! service · owns one thread, its connections and the rules of who may ask what.

mod body;
mod connection;
mod guard;
mod routes;
mod service;
mod target;

use std::future::Future;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::pin::pin;
use std::rc::Rc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, LocalOptions, LocalRuntime};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

pub use self::service::{AdminService, PublishError, ServerAdmin};
pub use crate::metrics::{CONTENT_TYPE as METRICS_CONTENT_TYPE, metrics};
pub use crate::status::{StatusExtra, status};

use crate::server::StartError;
use connection::Context;
use guard::Guard;

/// Connections at once; whoever comes then waits in the kernel's backlog.
pub const MAX_CONNECTIONS: usize = 64;
/// How long to wait after an accept failed, as trying again at once would spin.
const BACK_OFF: Duration = Duration::from_millis(100);
/// What `stop` allows the thread beyond its patience with the requests.
const MARGIN: Duration = Duration::from_millis(250);

/// When the requests under way must have ended; `None`: no end in sight.
type Stop = watch::Receiver<Option<Instant>>;

/// The admin address of a server. Dropping it ends the thread without waiting for it.
pub struct AdminServer {
    address: SocketAddr,
    stop: watch::Sender<Option<Instant>>,
    /// Closed when the thread has ended.
    ended: Mutex<Receiver<()>>,
}

impl AdminServer {
    /// Binds `address` (port 0: the kernel chooses) and starts the thread. `token`: what `Authorization: Bearer`
    /// must carry for what the rules (`admin/guard.rs`) keep from strangers; `None`: only this machine may publish
    /// and reconfigure.
    pub fn start(
        address: SocketAddr,
        token: Option<String>,
        service: Arc<dyn AdminService>,
    ) -> Result<Self, StartError> {
        let bind = |error| StartError::Bind { address: address.to_string(), error };
        let listener = TcpListener::bind(address).map_err(bind)?;
        listener.set_nonblocking(true).map_err(bind)?;
        let address = listener.local_addr().map_err(bind)?;
        let (stop, stopped) = watch::channel(None);
        let (begun, has_begun) = mpsc::channel();
        let (running, ended) = mpsc::channel::<()>();
        let thread = move || {
            // Dropped, and so closed, when the thread ends.
            let _running = running;
            let prepared = prepare(listener);
            match prepared {
                Ok((runtime, listener)) => {
                    let _ = begun.send(Ok(()));
                    let context = Context { guard: Guard::new(token), service, changes: Semaphore::new(1) };
                    runtime.block_on(accept(listener, Rc::new(context), stopped));
                    // A service that blocks must not hold the thread.
                    runtime.shutdown_background();
                }
                // The caller waits for it.
                Err(error) => drop(begun.send(Err(error))),
            }
        };
        std::thread::Builder::new()
            .name("streamconductor-admin".to_owned())
            .spawn(thread)
            .map_err(StartError::Thread)?;
        // The sender is lost only in a panic of the thread.
        let outcome = has_begun.recv().unwrap_or_else(|_| Err(io::Error::other("the thread panicked")));
        outcome.map_err(StartError::Thread)?;
        Ok(Self { address, stop, ended: Mutex::new(ended) })
    }

    /// The address that was bound.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Accepts nobody any more, lets the requests under way end for at most `patience`, then closes what is
    /// left and waits for the thread. False: the thread did not end in a quarter of a second beyond that.
    pub fn stop(&self, patience: Duration) -> bool {
        self.stop.send_replace(Some(Instant::now() + patience));
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        ended.recv_timeout(patience + MARGIN) == Err(RecvTimeoutError::Disconnected)
    }
}

impl Drop for AdminServer {
    fn drop(&mut self) {
        self.stop.send_replace(Some(Instant::now()));
    }
}

fn prepare(listener: TcpListener) -> io::Result<(LocalRuntime, tokio::net::TcpListener)> {
    let runtime =
        // Status and metrics wait for shards, and a reconfiguration may wait for the application: on threads of
        // their own, so that probes are answered meanwhile. Two, and one for changes, which must not take the others.
        Builder::new_current_thread().enable_all().max_blocking_threads(3).build_local(LocalOptions::default())?;
    let listener = {
        let _entered = runtime.enter();
        tokio::net::TcpListener::from_std(listener)?
    };
    Ok((runtime, listener))
}

async fn accept(listener: tokio::net::TcpListener, context: Rc<Context>, mut stop: Stop) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        let next = async {
            // Never closed, so there is always a permit in the end.
            let place = Arc::clone(&places).acquire_owned().await.ok();
            let accepted = listener.accept().await;
            if accepted.is_err() {
                tokio::time::sleep(BACK_OFF).await;
            }
            (accepted, place)
        };
        let Some((accepted, place)) = until_stopped(stop.clone(), next).await else { break };
        if let Ok((stream, peer)) = accepted {
            let (context, stop) = (Rc::clone(&context), stop.clone());
            connections.spawn_local(async move {
                connection::serve(stream, peer, context, stop).await;
                drop(place);
            });
        }
        while connections.try_join_next().is_some() {}
    }
    drop(listener);
    let deadline = stop.borrow_and_update().unwrap_or_else(Instant::now);
    let all = async { while connections.join_next().await.is_some() {} };
    // Dropping the set closes those that are left.
    let _ = tokio::time::timeout_at(deadline.into(), all).await;
}

/// What `work` comes to, or `None` once the server is to stop.
async fn until_stopped<T>(mut stop: Stop, work: impl Future<Output = T>) -> Option<T> {
    // An error means that the `AdminServer` is gone: the same.
    let mut stopped = pin!(stop.wait_for(Option::is_some));
    let mut work = pin!(work);
    std::future::poll_fn(|context| {
        if stopped.as_mut().poll(context).is_ready() {
            return Poll::Ready(None);
        }
        work.as_mut().poll(context).map(Some)
    })
    .await
}
