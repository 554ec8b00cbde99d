//! Receives connections · hands each a place with a generation · owns the table of one shard's connections.

use crate::id::ConnectionId;
use crate::shard::connection::Connection;

/// The connections of a shard by index. A place that is given away again has a new generation, so that a
/// command for the previous holder is recognised as stale.
#[derive(Default)]
pub struct Places {
    table: Vec<Place>,
    free: Vec<u32>,
    live: usize,
}

#[derive(Default)]
struct Place {
    generation: u32,
    // Boxed: the table grows without moving connections, and an empty place costs two words.
    connection: Option<Box<Connection>>,
}

impl Places {
    /// Puts a new connection, made for the id it will have, into a free place.
    pub fn insert(&mut self, shard: usize, make: impl FnOnce(ConnectionId) -> Connection) -> ConnectionId {
        let index = self.free.pop().unwrap_or_else(|| {
            self.table.push(Place::default());
            (self.table.len() - 1) as u32
        });
        let generation = self.table.get(index as usize).map_or(0, |place| place.generation);
        let id = ConnectionId::new(shard as u8, index, generation);
        if let Some(place) = self.table.get_mut(index as usize) {
            place.connection = Some(Box::new(make(id)));
            self.live += 1;
        }
        id
    }

    /// Takes a connection out; its place may be given away again.
    pub fn remove(&mut self, index: u32) -> Option<Box<Connection>> {
        let place = self.table.get_mut(index as usize)?;
        let connection = place.connection.take()?;
        place.generation = (place.generation + 1) & 0x00FF_FFFF;
        self.free.push(index);
        self.live -= 1;
        Some(connection)
    }

    /// The connection at a place.
    pub fn get(&self, index: u32) -> Option<&Connection> {
        self.table.get(index as usize)?.connection.as_deref()
    }

    /// The connection at a place, to change.
    pub fn get_mut(&mut self, index: u32) -> Option<&mut Connection> {
        self.table.get_mut(index as usize)?.connection.as_deref_mut()
    }

    /// The place of the connection with this very id; `None` when it has ended.
    pub fn find(&self, id: ConnectionId) -> Option<u32> {
        self.get(id.index()).filter(|connection| connection.id == id).map(|_| id.index())
    }

    /// All connections.
    pub fn iter(&self) -> impl Iterator<Item = &Connection> {
        self.table.iter().filter_map(|place| place.connection.as_deref())
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.live
    }

    /// How far indices go.
    pub fn capacity(&self) -> u32 {
        self.table.len() as u32
    }
}
