//! Receives the load generator's connections · hands back what nobody could hand back for less · owns the floor of the
//! comparison: an epoll loop that reads, unmasks and writes, and neither validates nor limits nor watches anything.
//!
//! Prints its port and process id as the first line. Linux only.

use std::process::ExitCode;

#[cfg(target_os = "linux")]
mod connection;
#[cfg(target_os = "linux")]
mod epoll;
#[cfg(target_os = "linux")]
mod frames;
#[cfg(target_os = "linux")]
mod opening;
#[cfg(target_os = "linux")]
mod server;

fn main() -> ExitCode {
    if std::env::args().len() > 1 {
        eprintln!("the floor takes no arguments: it has nothing that could be set");
        return ExitCode::from(2);
    }
    match serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("the floor has ended: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Serves on a free port of the loopback address.
#[cfg(target_os = "linux")]
fn serve() -> std::io::Result<()> {
    use std::io::Write;
    use std::net::{Ipv4Addr, SocketAddr, TcpListener};

    use socket2::{Domain, Socket, Type};

    const BACKLOG: i32 = 4096;

    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    // Connections inherit it: one call for all of them.
    socket.set_tcp_nodelay(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())?;
    socket.listen(BACKLOG)?;
    let listener = TcpListener::from(socket);
    let port = listener.local_addr()?.port();
    writeln!(std::io::stdout(), "{port} {}", std::process::id())?;
    server::Server::new(listener)?.run()
}

/// There is no epoll.
#[cfg(not(target_os = "linux"))]
fn serve() -> std::io::Result<()> {
    Err(std::io::Error::new(std::io::ErrorKind::Unsupported, "it is a loop over epoll, which only Linux has"))
}
