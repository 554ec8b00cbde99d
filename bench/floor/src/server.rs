//! Receives sockets that are ready · hands messages back, or to every subscriber · owns all connections.

use std::io;
use std::net::TcpListener;
use std::os::fd::{AsRawFd, RawFd};

use crate::connection::{Connection, Purpose, Written};
use crate::epoll::{Epoll, Ready, accept};
use crate::frames::{CLOSE, FINAL, OPCODE, PING, PONG, put, take};
use crate::opening::Opening;

/// Large enough that a read takes all that a socket holds.
const SCRATCH: usize = 256 * 1024;

/// The floor.
#[derive(Debug)]
pub struct Server {
    epoll: Epoll,
    listener: TcpListener,
    /// By descriptor.
    connections: Vec<Option<Connection>>,
    subscribers: Vec<RawFd>,
    scratch: Vec<u8>,
    /// What goes out to one connection.
    answers: Vec<u8>,
    /// What goes out to every subscriber at the end of the turn.
    publications: Vec<u8>,
}

/// The connection is over.
struct Over;

impl Server {
    /// A server on a socket that listens.
    ///
    /// # Errors
    /// What the system says.
    pub fn new(listener: TcpListener) -> io::Result<Self> {
        let epoll = Epoll::new()?;
        epoll.watch(listener.as_raw_fd())?;
        Ok(Self {
            epoll,
            listener,
            connections: Vec::new(),
            subscribers: Vec::new(),
            scratch: vec![0; SCRATCH],
            answers: Vec::new(),
            publications: Vec::new(),
        })
    }

    /// Serves until the process ends.
    ///
    /// # Errors
    /// What the system says of epoll; a connection's errors end the connection.
    pub fn run(mut self) -> io::Result<()> {
        let mut ready = Vec::new();
        loop {
            self.epoll.wait(&mut ready)?;
            for ready in &ready {
                self.take_up(*ready);
            }
            self.fan_out();
        }
    }

    fn take_up(&mut self, ready: Ready) {
        if ready.descriptor == self.listener.as_raw_fd() {
            // The peer may be gone again, or descriptors at an end: nothing that a floor must survive better.
            if let Ok(stream) = accept(&self.listener) {
                self.enter(Connection::new(stream));
            }
            return;
        }
        let over = (ready.is_writable && self.flush(ready.descriptor).is_err())
            || (ready.is_readable && self.read(ready.descriptor).is_err());
        if over {
            self.leave(ready.descriptor);
        }
    }

    fn enter(&mut self, connection: Connection) {
        let descriptor = connection.stream.as_raw_fd();
        let place = descriptor.cast_unsigned() as usize;
        if self.epoll.watch(descriptor).is_err() {
            return;
        }
        if self.connections.len() <= place {
            self.connections.resize_with(place + 1, || None);
        }
        if let Some(slot) = self.connections.get_mut(place) {
            *slot = Some(connection);
        }
    }

    fn leave(&mut self, descriptor: RawFd) {
        if let Some(slot) = self.connections.get_mut(descriptor.cast_unsigned() as usize)
            && slot.take().is_some_and(|connection| connection.purpose == Purpose::Subscriber)
            && let Some(place) = self.subscribers.iter().position(|subscriber| *subscriber == descriptor)
        {
            self.subscribers.swap_remove(place);
        }
    }

    fn read(&mut self, descriptor: RawFd) -> Result<(), Over> {
        let Self { epoll, connections, subscribers, scratch, answers, publications, .. } = self;
        let Some(connection) = at(connections, descriptor) else { return Ok(()) };
        let length = connection.read(scratch).ok_or(Over)?;
        let mut input = scratch.get_mut(..length).unwrap_or_default();
        answers.clear();
        if connection.purpose == Purpose::Opening
            && let Some(opening) = Opening::read(input)
        {
            answers.extend_from_slice(opening.response().as_bytes());
            connection.purpose = Purpose::of(opening.path);
            if connection.purpose == Purpose::Subscriber {
                subscribers.push(descriptor);
            }
            let length = opening.length;
            input = input.get_mut(length..).unwrap_or_default();
        }
        let mut outcome = Ok(());
        if connection.purpose != Purpose::Opening {
            while outcome.is_ok() {
                let (frame, rest) = take(input);
                input = rest;
                let Some(frame) = frame else { break };
                match (frame.first & OPCODE, connection.purpose) {
                    (PING, _) => put(answers, FINAL | PONG, frame.payload),
                    (PONG, _) => {}
                    (CLOSE, _) => {
                        put(answers, frame.first, frame.payload);
                        outcome = Err(Over);
                    }
                    (_, Purpose::Echo) => put(answers, frame.first, frame.payload),
                    (_, Purpose::Publisher) => put(publications, frame.first, frame.payload),
                    _ => {}
                }
            }
        }
        // A frame that no scratch holds is none that a benchmark sends.
        if input.len() == SCRATCH {
            return Err(Over);
        }
        connection.unfinished.extend_from_slice(input);
        if !answers.is_empty() {
            write(epoll, connection, answers)?;
        }
        outcome
    }

    fn flush(&mut self, descriptor: RawFd) -> Result<(), Over> {
        let Some(connection) = at(&mut self.connections, descriptor) else { return Ok(()) };
        if connection.flush().map_err(|_| Over)? == Written::All {
            self.epoll.watch_room(descriptor, false).map_err(|_| Over)?;
        }
        Ok(())
    }

    fn fan_out(&mut self) {
        if self.publications.is_empty() {
            return;
        }
        let mut over = Vec::new();
        for &subscriber in &self.subscribers {
            if let Some(connection) = at(&mut self.connections, subscriber)
                && write(&self.epoll, connection, &self.publications).is_err()
            {
                over.push(subscriber);
            }
        }
        self.publications.clear();
        for descriptor in over {
            self.leave(descriptor);
        }
    }
}

fn at(connections: &mut [Option<Connection>], descriptor: RawFd) -> Option<&mut Connection> {
    connections.get_mut(descriptor.cast_unsigned() as usize)?.as_mut()
}

fn write(epoll: &Epoll, connection: &mut Connection, bytes: &[u8]) -> Result<(), Over> {
    if connection.write(bytes).map_err(|_| Over)? == Written::Waits {
        epoll.watch_room(connection.stream.as_raw_fd(), true).map_err(|_| Over)?;
    }
    Ok(())
}
