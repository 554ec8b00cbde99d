//! Receives what the application wants · hands it to the shard that it concerns · owns the looks at events, views
//! and counts.

use std::sync::Arc;

use bytes::Bytes;
use streamconductor_core::channel::Channel;
use streamconductor_core::close::{CloseCode, Ending};
use streamconductor_core::codec::Kind;
use streamconductor_core::config::Limits;
use streamconductor_core::deflate::Prepared;
use streamconductor_core::gauge::Gauge;
use streamconductor_core::handshake::ResponseHeaders;
use streamconductor_core::shard::command::{Admission, Command, Filter, Publication, Refused};
use streamconductor_core::shard::event::{Closed, Event};
use streamconductor_core::shard::view::ConnectionView;
use streamconductor_core::stats::Stats;

use super::{Client, Server, TICK, server_frame, upgrade};

impl Server {
    /// A socket that asks to be upgraded.
    pub fn ask(&mut self, shard: usize, path: &str) -> Client {
        let client = self.accept(shard).expect("a pending place is free");
        self.send(&client, &upgrade(path));
        client
    }

    /// An open connection on the route that is held; its events of opening are looked at already.
    pub fn open(&mut self, shard: usize) -> (Client, Arc<Gauge>) {
        let mut client = self.ask(shard, "/chat");
        let is_asked =
            |event: &Event| matches!(event, Event::Arrived(one) if one.asks && one.connection == client.id);
        if self.take(is_asked).len() == 1 {
            self.admit(&client, |_| {});
        }
        assert_eq!(client.status(), 101, "{}", client.head());
        let gauge = self.opened(&client);
        self.take(|event| matches!(event, Event::Arrived(one) if one.connection == client.id));
        (client, gauge)
    }

    /// The gauge of a connection that has just opened.
    pub fn opened(&mut self, client: &Client) -> Arc<Gauge> {
        let opened = self.take(|event| matches!(event, Event::Opened(one) if one.connection == client.id));
        let [Event::Opened(opening)] = &opened[..] else { panic!("{opened:?}") };
        opening.gauge.clone().expect("the route is held")
    }

    pub fn admit(&mut self, client: &Client, change: impl FnOnce(&mut Admission)) {
        let mut admission = Admission {
            connection: client.id,
            user: None,
            expires_at: None,
            priority: 0,
            subprotocol: None,
            headers: ResponseHeaders::default(),
            victim: None,
            subscribe: Vec::new(),
        };
        change(&mut admission);
        self.command(client.id.shard(), Command::Admit(Box::new(admission)));
    }

    pub fn refuse(&mut self, client: &Client, status: u16, reason: &str) {
        let headers = ResponseHeaders::default();
        let refused = Refused { connection: client.id, status, reason: reason.into(), headers };
        self.command(client.id.shard(), Command::Refuse(Box::new(refused)));
    }

    pub fn command(&mut self, shard: usize, command: Command) {
        self.shards[shard].command(command, self.now);
        self.turn();
    }

    /// A private text, as `send` (`awaited`) or `send_nowait` hands it over.
    pub fn tell(&mut self, client: &Client, gauge: &Gauge, payload: &str, awaited: bool) {
        let frame = Bytes::from(server_frame(Kind::Text, payload.as_bytes()));
        gauge.sent(frame.len());
        self.command(client.id.shard(), Command::Send { connection: client.id, frame, awaited });
    }

    pub fn close(&mut self, client: &Client, code: CloseCode, reason: &str) {
        self.end_with(client, Ending::Closed { code, reason: reason.into() });
    }

    pub fn end_with(&mut self, client: &Client, ending: Ending) {
        let command = Command::Close { connection: client.id, ending: Box::new(ending) };
        self.command(client.id.shard(), command);
    }

    pub fn subscribe(&mut self, client: &Client, channel: &str) -> Arc<Channel> {
        let channel = self.registry.join(channel);
        let (connection, first) = (client.id, None);
        let encoding = client.encoding();
        let command = Command::Subscribe { connection, channel: Arc::clone(&channel), encoding, first };
        self.command(channel.home(), command);
        channel
    }

    pub fn unsubscribe(&mut self, client: &Client, channel: &Arc<Channel>) {
        let command = Command::Unsubscribe { connection: client.id, channel: Arc::clone(channel) };
        self.command(channel.home(), command);
    }

    pub fn publish(&mut self, channel: &Arc<Channel>, payload: &str) {
        self.publish_quietly(channel, payload, 0);
        self.turn();
    }

    /// Publishes within a turn that goes on.
    pub fn publish_quietly(&mut self, channel: &Arc<Channel>, payload: &str, key: u64) {
        self.publish_prepared(channel, payload, key, None);
    }

    /// Likewise, with frames that the caller compressed.
    pub fn publish_prepared(
        &mut self,
        channel: &Arc<Channel>,
        payload: &str,
        key: u64,
        prepared: Option<Box<Prepared>>,
    ) {
        let (channel, payload) = (Arc::clone(channel), Bytes::copy_from_slice(payload.as_bytes()));
        let home = channel.home();
        let publication = Publication { kind: Kind::Text, payload, key, prepared };
        let command = Command::Publish { channel, publication };
        self.shards[home].command(command, self.now);
    }

    /// Takes the events that are meant out of those nobody has looked at.
    pub fn take(&mut self, is_meant: impl Fn(&Event) -> bool) -> Vec<Event> {
        self.events.extract_if(.., |event| is_meant(event)).collect()
    }

    /// The one ending of a client, taken; the tokens of others stay.
    pub fn closed(&mut self, client: &Client) -> Closed {
        let mut closed =
            self.take(|event| matches!(event, Event::Closed(closed) if closed.connection == client.id));
        assert_eq!(closed.len(), 1, "exactly one ending: {closed:?}");
        let Some(Event::Closed(closed)) = closed.pop() else { unreachable!() };
        *closed
    }

    /// The messages of a client that the application has not looked at.
    pub fn heard(&mut self, client: &Client) -> Vec<String> {
        let events =
            self.take(|event| matches!(event, Event::Message { connection, .. } if *connection == client.id));
        let payload = |event| match event {
            Event::Message { payload, .. } => String::from_utf8(payload.to_vec()).unwrap(),
            _ => unreachable!(),
        };
        events.into_iter().map(payload).collect()
    }

    pub fn stats(&mut self) -> Stats {
        let mut sum = Stats::default();
        for shard in &mut self.shards {
            sum.merge(shard.stats());
        }
        sum
    }

    pub fn view(&mut self, client: &Client) -> Option<ConnectionView> {
        let (sender, views) = std::sync::mpsc::channel();
        let answer = Box::new(move |views| drop(sender.send(views)));
        self.command(client.id.shard(), Command::List { filter: Filter::default(), answer });
        let views: Vec<ConnectionView> = views.recv().unwrap();
        views.into_iter().find(|view| view.connection == client.id)
    }

    pub fn reconfigure(&mut self, change: impl FnOnce(&mut Limits)) {
        let mut limits = Limits::clone(self.shards[0].limits());
        change(&mut limits);
        self.pool.set_maxima(limits.max_connections, limits.max_pending);
        self.ledger.set_budget(limits.memory_budget);
        let limits = Arc::new(limits);
        for shard in 0..self.shards.len() {
            self.command(shard, Command::Reconfigure { limits: Arc::clone(&limits), tick: TICK });
        }
    }
}
