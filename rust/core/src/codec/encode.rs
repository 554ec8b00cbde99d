//! Receives payloads from the application and the lifecycle · hands out frames for the ring · owns nothing.

use std::ops::Deref;

use super::Kind;
use super::header::{Control, MAX_CONTROL, MAX_HEADER, Opcode, encode_header};
use super::mask::Mask;
use crate::close::CloseCode;

/// The longest control frame: a short header, a masking key, the payload.
const MAX_CONTROL_FRAME: usize = 2 + 4 + MAX_CONTROL;

/// Appends a server's message as one frame to `out`.
pub fn encode_message(out: &mut Vec<u8>, kind: Kind, payload: &[u8]) {
    encode_frame(out, Opcode::Data(kind), true, payload, None);
}

/// Appends one frame to `out`. `mask` is the key of a client's frame, fresh and unpredictable for each
/// (RFC 6455 §5.3); a server's frames have none. The sequence of frames is the caller's.
pub fn encode_frame(
    out: &mut Vec<u8>,
    opcode: Opcode,
    is_final: bool,
    payload: &[u8],
    mask: Option<[u8; 4]>,
) {
    let mut header = [0; MAX_HEADER];
    let size = encode_header(&mut header, opcode, is_final, false, payload.len(), mask);
    out.reserve(size + payload.len());
    out.extend_from_slice(header.get(..size).unwrap_or_default());
    let start = out.len();
    out.extend_from_slice(payload);
    if let (Some(key), Some(payload)) = (mask, out.get_mut(start..)) {
        Mask::new(key).apply(payload);
    }
}

/// One encoded control frame, without heap.
#[derive(Clone, Copy, Debug)]
pub struct ControlFrame {
    bytes: [u8; MAX_CONTROL_FRAME],
    length: u8,
}

impl Deref for ControlFrame {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.bytes.get(..self.length.into()).unwrap_or_default()
    }
}

/// Encodes a control frame. Of `payload` the first [`MAX_CONTROL`] bytes are sent, for no frame may carry
/// more; a ping's payload, echoed in a pong, always fits. `mask` is the key of a client's frame.
pub fn control_frame(control: Control, payload: &[u8], mask: Option<[u8; 4]>) -> ControlFrame {
    let payload = payload.get(..MAX_CONTROL).unwrap_or(payload);
    let mut header = [0; MAX_HEADER];
    let size = encode_header(&mut header, Opcode::Control(control), true, false, payload.len(), mask);
    let mut frame = ControlFrame { bytes: [0; MAX_CONTROL_FRAME], length: (size + payload.len()) as u8 };
    let (head, tail) = frame.bytes.split_at_mut(size);
    head.copy_from_slice(header.get(..size).unwrap_or_default());
    if let Some(place) = tail.get_mut(..payload.len()) {
        place.copy_from_slice(payload);
        mask.map_or(Mask::NONE, Mask::new).apply(place);
    }
    frame
}

/// Encodes a Close frame. A code that may not be sent counts as none, and without a code there is no place
/// for a reason (RFC 6455 §5.5.1). A reason that does not fit is cut at a character.
pub fn close_frame(code: Option<CloseCode>, reason: &str, mask: Option<[u8; 4]>) -> ControlFrame {
    let Some(code) = code.filter(|code| code.is_sendable()) else {
        return control_frame(Control::Close, &[], mask);
    };
    let mut payload = [0; MAX_CONTROL];
    let (place, rest) = payload.split_at_mut(2);
    place.copy_from_slice(&code.0.to_be_bytes());
    let reason = reason.get(..reason.floor_char_boundary(rest.len())).unwrap_or_default().as_bytes();
    if let Some(place) = rest.get_mut(..reason.len()) {
        place.copy_from_slice(reason);
    }
    control_frame(Control::Close, payload.get(..2 + reason.len()).unwrap_or_default(), mask)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_of_the_rfc() {
        // RFC 6455 §5.7
        let key = Some([0x37, 0xFA, 0x21, 0x3D]);
        let mut out = Vec::new();
        encode_message(&mut out, Kind::Text, b"Hello");
        assert_eq!(out, b"\x81\x05Hello");
        out.clear();
        encode_frame(&mut out, Opcode::Data(Kind::Text), true, b"Hello", key);
        assert_eq!(out, b"\x81\x85\x37\xFA\x21\x3D\x7F\x9F\x4D\x51\x58");
        out.clear();
        encode_frame(&mut out, Opcode::Data(Kind::Text), false, b"Hel", None);
        encode_frame(&mut out, Opcode::Continuation, true, b"lo", None);
        assert_eq!(out, b"\x01\x03Hel\x80\x02lo");
        assert_eq!(&*control_frame(Control::Ping, b"Hello", None), b"\x89\x05Hello");
        let pong = control_frame(Control::Pong, b"Hello", key);
        assert_eq!(&*pong, b"\x8A\x85\x37\xFA\x21\x3D\x7F\x9F\x4D\x51\x58");
    }

    #[test]
    fn what_does_not_fit_a_control_frame_is_cut_and_a_reason_stays_text() {
        let ping = control_frame(Control::Ping, &[7; 200], None);
        assert_eq!((ping.len(), ping[1]), (127, 125));
        let close = close_frame(Some(CloseCode::NORMAL), &"ü".repeat(100), None);
        assert_eq!((close.len(), close[1]), (2 + 2 + 122, 124));
        assert_eq!(close[2..4], 1000_u16.to_be_bytes());
        assert!(std::str::from_utf8(&close[4..]).is_ok());
    }

    #[test]
    fn codes_that_may_not_be_sent_are_not() {
        for code in [None, Some(CloseCode::NO_STATUS), Some(CloseCode::ABNORMAL), Some(CloseCode(999))] {
            assert_eq!(&*close_frame(code, "reason", None), b"\x88\x00");
        }
    }
}
