//! Receives templates · says them on every connection that opens · owns nothing of what is answered.

use std::time::{Duration, Instant};

use crate::label::label;
use crate::messages::{epoch, time_at};
use crate::plan::Plan;
use crate::template::{Stamp, Template};
use crate::world::World;

/// So long nothing comes once the beginning is over.
pub(crate) const QUIET: Duration = Duration::from_millis(200);

/// What a connection says as soon as it is open: who it is, what it subscribes to.
#[derive(Debug)]
pub(crate) struct Hello {
    templates: Vec<Template>,
    epoch: (Instant, u64),
}

impl Hello {
    pub(crate) fn new(plan: &Plan) -> Self {
        let templates = plan.hello.iter().map(|text| Template::read(text, plan.size)).collect();
        Self { templates, epoch: epoch(Instant::now()) }
    }

    /// Says it, all in one write.
    pub(crate) fn say(&self, number: usize, world: &mut World) {
        let (mut frames, mut payload) = (Vec::new(), Vec::new());
        for (place, template) in self.templates.iter().enumerate() {
            payload.clear();
            let stamp = Stamp { label: label(place as u64), time: time_at(self.epoch, Instant::now()) };
            template.render(&mut payload, &stamp, number);
            world.encode(number, &mut frames, &payload);
        }
        if !frames.is_empty() {
            world.send(number, &frames);
        }
    }

    /// Whether anything is said.
    pub(crate) fn is_said(&self) -> bool {
        !self.templates.is_empty()
    }
}
