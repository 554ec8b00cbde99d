//! Receives payloads and names from Python · hands out bytes and frames of ours, copied once · owns the rules of
//! what may cross.

use bytes::Bytes;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyBytes, PyString};
use streamconductor_core::channel::MAX_NAME;
use streamconductor_core::codec::{Kind, Role, message_frame};
use streamconductor_core::lifecycle::{Direction, State, TABLE};

/// A payload that lies in Python's memory.
pub enum Payload<'py> {
    /// `str`.
    Text(&'py str),
    /// `bytes`.
    Binary(&'py [u8]),
    /// `bytearray`, which may change under us: copied under the lock.
    Copied(Vec<u8>),
}

impl<'py> Payload<'py> {
    /// Borrows a `str`, `bytes` or `bytearray`. Other types are encoded by the Python side first.
    pub fn of(value: &'py Bound<'py, PyAny>) -> PyResult<Self> {
        if let Ok(text) = value.cast::<PyString>() {
            Ok(Self::Text(text.to_str()?))
        } else if let Ok(bytes) = value.cast::<PyBytes>() {
            Ok(Self::Binary(bytes.as_bytes()))
        } else if let Ok(array) = value.cast::<PyByteArray>() {
            Ok(Self::Copied(array.to_vec()))
        } else {
            let name = value.get_type().name()?;
            Err(PyTypeError::new_err(format!("payload must be str or bytes, not {name}")))
        }
    }

    /// Borrows a payload that needs no encoding; `None`: the Python side must encode it first.
    pub fn encoded(value: &'py Bound<'py, PyAny>) -> PyResult<Option<Self>> {
        Ok(if let Ok(text) = value.cast_exact::<PyString>() {
            Some(Self::Text(text.to_str()?))
        } else if let Ok(bytes) = value.cast_exact::<PyBytes>() {
            Some(Self::Binary(bytes.as_bytes()))
        } else {
            None
        })
    }

    /// Text or binary.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Text(_) => Kind::Text,
            Self::Binary(_) | Self::Copied(_) => Kind::Binary,
        }
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Text(text) => text.as_bytes(),
            Self::Binary(bytes) => bytes,
            Self::Copied(bytes) => bytes,
        }
    }

    /// A copy of ours, not framed.
    pub fn copy(&self) -> Bytes {
        Bytes::copy_from_slice(self.bytes())
    }

    /// A copy of ours, as one frame that is not compressed; a client's is masked later.
    pub fn frame(&self, role: Role) -> Bytes {
        message_frame(role, self.kind(), self.bytes())
    }
}

/// Checks a channel's name: 1 to 255 bytes without control characters.
pub fn check_channel(name: &str) -> PyResult<()> {
    if name.is_empty() || name.len() > MAX_NAME {
        return Err(PyValueError::new_err(format!(
            "channel name of {} bytes; it must have 1 to {MAX_NAME}",
            name.len()
        )));
    }
    if name.chars().any(char::is_control) {
        return Err(PyValueError::new_err("channel name holds a control character"));
    }
    Ok(())
}

/// The executed transition table: tuples of direction, from, event, to, meaning; a row of two directions twice.
#[pyfunction]
pub fn lifecycle_table() -> Vec<(&'static str, &'static str, String, &'static str, &'static str)> {
    let rows_of = |(direction, name): (Direction, &'static str)| {
        let rows = TABLE.iter().filter(move |row| row.directions.contains(&direction));
        rows.map(move |row| {
            (name, row.from.name(), spaced(&format!("{:?}", row.event)), row.to.name(), row.meaning)
        })
    };
    let all = [(Direction::Inbound, "inbound"), (Direction::Outgoing, "outgoing"), (Direction::Link, "link")];
    all.into_iter().flat_map(rows_of).collect()
}

/// The names of all states, in the order of the counts in `/status`.
#[pyfunction]
pub fn state_names() -> Vec<&'static str> {
    let mut names: Vec<&'static str> = Vec::new();
    for state in TABLE.iter().flat_map(|row| [row.from, row.to]).map(State::name) {
        if !names.contains(&state) {
            names.push(state);
        }
    }
    names
}

/// `HighWater` becomes `high water`.
fn spaced(name: &str) -> String {
    let mut text = String::new();
    for letter in name.chars() {
        if letter.is_uppercase() && !text.is_empty() {
            text.push(' ');
        }
        text.extend(letter.to_lowercase());
    }
    text
}
