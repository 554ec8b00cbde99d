//! Receives a connection's inbound bytes from the shard · hands complete items back · owns what must be
//! remembered between two reads: a part of a header, or the payload of a message begun.

use std::mem;

use super::header::{Control, Header, MAX_HEADER, Opcode};
use super::mask::Mask;
use super::utf8::{self, Unfinished};
use super::{CodecLimits, Item, Kind, Payload, Role, Violation};
use crate::close::CloseCode;
use crate::deflate::Inflater;

/// Heap that the first bytes of an incomplete frame get. What a peer declares costs it nothing and must
/// cost us nothing; only what it really sends makes the assembly grow.
const FIRST_RESERVATION: usize = 512;

/// The inbound half of one connection: no heap while no frame or message is incomplete.
#[derive(Debug)]
pub struct Codec {
    stage: Stage,
    /// The message begun; behind it, while one is incomplete, the payload of a control frame. Frames do not
    /// interleave, so that payload is taken off again before the message goes on.
    assembly: Vec<u8>,
    /// Frames of the message begun, else of the last one.
    fragments: u32,
    /// The message begun.
    message: Option<Kind>,
    /// At the end of the assembly, if the message is text.
    unfinished: Unfinished,
    role: Role,
    /// Whether permessage-deflate was negotiated.
    may_be_compressed: bool,
    /// The message begun is compressed, and so is what the assembly holds of it.
    is_compressed: bool,
}

/// What the next byte is.
#[derive(Debug)]
enum Stage {
    Header(PartialHeader),
    Payload(Frame),
    Dead(Box<Violation>),
}

/// The first bytes of a header.
#[derive(Clone, Copy, Debug, Default)]
struct PartialHeader {
    bytes: [u8; MAX_HEADER],
    length: u8,
}

/// A frame whose header was accepted.
#[derive(Clone, Copy, Debug)]
struct Frame {
    /// Payload bytes still to come.
    remaining: usize,
    mask: Mask,
    opcode: Opcode,
    is_final: bool,
    /// Payload bytes of a control frame, at most 125.
    control_length: u8,
}

impl Codec {
    /// The state of a connection on which nothing has come.
    pub const fn new(role: Role) -> Self {
        Self {
            stage: Stage::Header(PartialHeader { bytes: [0; MAX_HEADER], length: 0 }),
            assembly: Vec::new(),
            fragments: 0,
            message: None,
            unfinished: Unfinished::NONE,
            role,
            may_be_compressed: false,
            is_compressed: false,
        }
    }

    /// permessage-deflate was negotiated: from now on RSV1 says that a message is compressed.
    pub fn accept_compressed(&mut self) {
        self.may_be_compressed = true;
    }

    /// Decodes the next item from `input`, unmasking in place, and returns the rest, to be given again.
    /// Without an item all of `input` was consumed and more bytes are needed. After a violation the codec is
    /// dead: it holds no heap for the connection's data and repeats the violation.
    ///
    /// A compressed message costs a context of its own here; with many to come give [`Codec::decode_with`] one.
    #[inline]
    pub fn decode<'i>(
        &mut self,
        limits: &CodecLimits,
        input: &'i mut [u8],
    ) -> Result<(Option<Item<'i>>, &'i mut [u8]), Violation> {
        self.decode_with(limits, Some(&mut Inflater::new()), input)
    }

    /// As [`Codec::decode`], with the context that inflates compressed messages: a shared one where every message
    /// begins with an empty window, as our servers agree with everybody; the connection's own towards a server that
    /// carries its window on. `None`: nobody wants messages any more, and compressed ones come out empty.
    #[inline]
    pub fn decode_with<'i>(
        &mut self,
        limits: &CodecLimits,
        inflater: Option<&mut Inflater>,
        input: &'i mut [u8],
    ) -> Result<(Option<Item<'i>>, &'i mut [u8]), Violation> {
        if let Stage::Dead(violation) = &self.stage {
            return Err(violation.as_ref().clone());
        }
        self.advance(limits, inflater, input).inspect_err(|violation| {
            *self = Self { stage: Stage::Dead(Box::new(violation.clone())), ..Self::new(self.role) };
        })
    }

    /// Whether a frame or a message has begun and is not complete.
    pub const fn is_mid_message(&self) -> bool {
        self.message.is_some()
            || match &self.stage {
                Stage::Header(partial) => partial.length > 0,
                Stage::Payload(_) => true,
                Stage::Dead(_) => false,
            }
    }

    /// Frames of the message that has begun, or of the last one when none has.
    pub const fn fragments(&self) -> u32 {
        self.fragments
    }

    /// Bytes of heap held for data that is not complete, as the ledger counts them: capacity, not length.
    pub const fn buffered(&self) -> usize {
        self.assembly.capacity()
    }

    fn advance<'i>(
        &mut self,
        limits: &CodecLimits,
        mut inflater: Option<&mut Inflater>,
        mut input: &'i mut [u8],
    ) -> Result<(Option<Item<'i>>, &'i mut [u8]), Violation> {
        loop {
            let (mut frame, is_fresh) = match &mut self.stage {
                Stage::Dead(violation) => return Err(violation.as_ref().clone()),
                Stage::Payload(frame) => (*frame, false),
                Stage::Header(partial) => {
                    let Some((header, used)) = partial.complete(self.role, self.may_be_compressed, input)?
                    else {
                        return Ok((None, &mut []));
                    };
                    input = input.split_at_mut(used).1;
                    (self.begin(limits, &header)?, true)
                }
            };
            let available = frame.remaining.min(input.len());
            let (piece, rest) = input.split_at_mut(available);
            input = rest;
            frame.mask.apply(piece);
            frame.remaining -= piece.len();

            let is_whole = is_fresh && frame.remaining == 0;
            let item = match frame.opcode {
                Opcode::Control(control) if is_whole => Some(control_item(control, Payload::Whole(piece))?),
                Opcode::Data(kind) if is_whole && frame.is_final => {
                    Some(self.whole(limits, inflater.as_deref_mut(), kind, piece)?)
                }
                _ => self.assemble(limits, inflater.as_deref_mut(), frame, piece)?,
            };
            if item.is_some() || input.is_empty() {
                return Ok((item, input));
            }
        }
    }

    /// Checks a header against the frames before it and the limits, before any of its payload is taken.
    #[inline]
    fn begin(&mut self, limits: &CodecLimits, header: &Header) -> Result<Frame, Violation> {
        let &Header { opcode, is_final, length, mask, .. } = header;
        match opcode {
            Opcode::Data(_) if self.message.is_some() => {
                return Err(Violation::protocol("new message inside a fragmented message"));
            }
            Opcode::Continuation if self.message.is_none() => {
                return Err(Violation::protocol("continuation without a message to continue"));
            }
            Opcode::Data(kind) => {
                self.message = Some(kind);
                self.is_compressed = header.is_compressed;
                self.fragments = 0;
            }
            Opcode::Continuation | Opcode::Control(_) => {}
        }
        // A platform whose usize is narrower than the declared length could not hold the frame either.
        let remaining = usize::try_from(length).unwrap_or(usize::MAX);
        if !matches!(opcode, Opcode::Control(_)) {
            if remaining > limits.max_frame_size {
                return Err(Violation::frame_too_big(length, limits.max_frame_size));
            }
            let message = self.assembly.len().saturating_add(remaining);
            if message > limits.max_message_size {
                return Err(Violation::message_too_big(message, limits.max_message_size));
            }
            self.fragments += 1;
            if self.fragments > limits.max_fragments {
                return Err(Violation::too_many_fragments(limits.max_fragments));
            }
        }
        Ok(Frame { remaining, mask, opcode, is_final, control_length: remaining as u8 })
    }

    /// The fast path: a message that is one frame, all of it in the input.
    #[inline]
    fn whole<'i>(
        &mut self,
        limits: &CodecLimits,
        inflater: Option<&mut Inflater>,
        kind: Kind,
        payload: &'i [u8],
    ) -> Result<Item<'i>, Violation> {
        if self.is_compressed {
            self.message = None;
            return inflated(limits, inflater, kind, payload);
        }
        if kind == Kind::Text {
            utf8::validate(payload).map_err(|position| Violation::not_utf8("text", position))?;
        }
        self.message = None;
        Ok(Item::Message { kind, payload: Payload::Whole(payload) })
    }

    /// Keeps a piece of a frame; hands out the item that it completes, if it does.
    fn assemble(
        &mut self,
        limits: &CodecLimits,
        inflater: Option<&mut Inflater>,
        frame: Frame,
        piece: &[u8],
    ) -> Result<Option<Item<'static>>, Violation> {
        self.reserve(limits, &frame, piece.len());
        self.assembly.extend_from_slice(piece);
        let is_complete = frame.remaining == 0;
        self.stage =
            if is_complete { Stage::Header(PartialHeader::default()) } else { Stage::Payload(frame) };

        if let Opcode::Control(control) = frame.opcode {
            if !is_complete {
                return Ok(None);
            }
            let start = self.assembly.len().saturating_sub(frame.control_length.into());
            // From the very start nothing else is here: an idle connection gets rid of the heap.
            let payload =
                if start == 0 { mem::take(&mut self.assembly) } else { self.assembly.split_off(start) };
            return control_item(control, Payload::Assembled(payload)).map(Some);
        }

        let is_complete = is_complete && frame.is_final;
        if self.message == Some(Kind::Text) && !self.is_compressed {
            let text = &self.assembly;
            let checked = self.unfinished.extend(text, piece.len());
            let checked =
                checked.and_then(|()| if is_complete { self.unfinished.finish(text) } else { Ok(()) });
            checked.map_err(|position| Violation::not_utf8("text", position))?;
        }
        let Some(kind) = self.message.take_if(|_| is_complete) else { return Ok(None) };
        let payload = mem::take(&mut self.assembly);
        if self.is_compressed {
            return inflated(limits, inflater, kind, &payload).map(Some);
        }
        Ok(Some(Item::Message { kind, payload: Payload::Assembled(payload) }))
    }

    /// Makes room for `added` bytes, twice as much each time so that many small pieces stay cheap, but never
    /// more than can still come: the rest of a final frame is known, else the message's limit bounds it.
    fn reserve(&mut self, limits: &CodecLimits, frame: &Frame, added: usize) {
        let needed = self.assembly.len() + added;
        if needed <= self.assembly.capacity() {
            return;
        }
        let most = if frame.is_final { needed + frame.remaining } else { limits.max_message_size };
        let wanted = (2 * self.assembly.capacity()).max(FIRST_RESERVATION).min(most).max(needed);
        self.assembly.reserve_exact(wanted - self.assembly.len());
    }
}

impl PartialHeader {
    /// The header that begins here and goes on in `input`, and how many bytes of `input` belong to it.
    /// `None`: all of `input` is a part of the header and was kept.
    #[inline]
    fn complete(
        &mut self,
        role: Role,
        may_be_compressed: bool,
        input: &[u8],
    ) -> Result<Option<(Header, usize)>, Violation> {
        if self.length == 0 {
            if let Some(header) = Header::parse(role, may_be_compressed, input)? {
                let used = header.size;
                return Ok(Some((header, used)));
            }
            self.keep(input);
            return Ok(None);
        }
        let held = self.length;
        self.keep(input);
        let bytes = self.bytes.get(..self.length.into()).unwrap_or_default();
        let Some(header) = Header::parse(role, may_be_compressed, bytes)? else { return Ok(None) };
        self.length = 0;
        let used = header.size.saturating_sub(held.into());
        Ok(Some((header, used)))
    }

    /// Keeps as much of `input` as a header can have; what no header has is left to be looked at as payload.
    fn keep(&mut self, input: &[u8]) {
        for (place, byte) in self.bytes.iter_mut().skip(self.length.into()).zip(input) {
            *place = *byte;
            self.length += 1;
        }
    }
}

/// The message that a complete compressed payload says.
fn inflated(
    limits: &CodecLimits,
    inflater: Option<&mut Inflater>,
    kind: Kind,
    compressed: &[u8],
) -> Result<Item<'static>, Violation> {
    let Some(inflater) = inflater else {
        return Ok(Item::Message { kind, payload: Payload::Assembled(Vec::new()) });
    };
    let limit = limits.max_message_size;
    let payload =
        inflater.inflate(compressed, limit).map_err(|error| Violation::not_inflated(error, limit))?;
    if kind == Kind::Text {
        utf8::validate(&payload).map_err(|position| Violation::not_utf8("text", position))?;
    }
    Ok(Item::Message { kind, payload: Payload::Assembled(payload) })
}

/// Reads the payload of a complete control frame.
fn control_item(control: Control, payload: Payload<'_>) -> Result<Item<'_>, Violation> {
    match control {
        Control::Ping => Ok(Item::Ping(payload)),
        Control::Pong => Ok(Item::Pong(payload)),
        Control::Close => close_item(&payload),
    }
}

/// RFC 6455 §5.5.1: nothing, or a code that may be sent and a reason in UTF-8.
fn close_item(payload: &[u8]) -> Result<Item<'static>, Violation> {
    let Some((code, reason)) = payload.split_first_chunk() else {
        return if payload.is_empty() {
            Ok(Item::Close { code: None, reason: String::new() })
        } else {
            Err(Violation::protocol("close payload of 1 byte, a code has 2"))
        };
    };
    let code = CloseCode(u16::from_be_bytes(*code));
    if !code.is_sendable() {
        return Err(Violation::protocol(format!("close code {} may not be sent", code.0)));
    }
    let reason = utf8::validate(reason).map_err(|position| Violation::not_utf8("close reason", position))?;
    Ok(Item::Close { code: Some(code), reason: reason.to_owned() })
}
