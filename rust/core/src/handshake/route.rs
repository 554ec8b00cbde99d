//! Receives the patterns that the application registers · hands out the route of a path and its decoded
//! parameters · owns the settings of every route.

use std::sync::Arc;

use super::syntax::{BEARER_SUBPROTOCOL, is_token};
use super::target::decode;
use crate::config::Origins;

/// The parameters of a path in the order of the pattern: name and decoded value.
pub type Parameters = Vec<(Arc<str>, String)>;

/// What one route decides for itself.
#[derive(Clone, Debug, Default)]
pub struct RouteSettings {
    /// Subprotocols that the route speaks, the preferred first; empty: none is ever selected.
    pub subprotocols: Vec<String>,
    /// Origins instead of the server's; `None`: the server's.
    pub origins: Option<Origins>,
}

/// Why a pattern or its settings cannot be a route. The text names the pattern and the fix.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("route {pattern:?}: {problem}")]
pub struct RouteError {
    pattern: String,
    problem: String,
}

/// The routes of a server: those without parameters first, then in the order of registration.
///
/// A pattern is written decoded. A segment is literal, `{name}` (one segment, not empty) or, at the end,
/// `{name:path}` (the rest, slashes included, perhaps empty). An encoded slash stays within its segment; a
/// trailing slash is significant.
#[derive(Clone, Debug, Default)]
pub struct Router {
    routes: Vec<Route>,
}

#[derive(Clone, Debug)]
struct Route {
    pattern: String,
    segments: Vec<Segment>,
    settings: RouteSettings,
}

#[derive(Clone, Debug)]
enum Segment {
    Literal(String),
    One(Arc<str>),
    Rest(Arc<str>),
}

impl Router {
    /// A router without routes.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a route and hands out its index, which [`Router::find`] gives back.
    pub fn add(&mut self, pattern: &str, settings: RouteSettings) -> Result<usize, RouteError> {
        let error = |problem: String| RouteError { pattern: pattern.to_owned(), problem };
        let segments = segments(pattern).map_err(error)?;
        for name in &settings.subprotocols {
            if !is_token(name.as_bytes()) {
                return Err(error(format!("subprotocol {name:?} is not a token (RFC 9110 §5.6.2)")));
            }
            if name.starts_with(BEARER_SUBPROTOCOL) {
                return Err(error(format!(
                    "subprotocol {name:?}: \"bearer.\" carries tokens, choose another"
                )));
            }
        }
        if let Some(route) = self.routes.iter().find(|route| is_same_shape(&route.segments, &segments)) {
            return Err(error(format!("the same paths already belong to {:?}", route.pattern)));
        }
        self.routes.push(Route { pattern: pattern.to_owned(), segments, settings });
        Ok(self.routes.len() - 1)
    }

    /// The route of `path` (percent-encoded, without its query) and its parameters; `None`: no such route.
    pub fn find(&self, path: &str) -> Option<(usize, Parameters)> {
        let segments: Vec<_> = path.strip_prefix('/')?.split('/').map(decode).collect::<Option<_>>()?;
        let matching = |exact| {
            let mut routes =
                self.routes.iter().enumerate().filter(move |(_, route)| route.is_exact() == exact);
            routes.find_map(|(index, route)| Some((index, route.parameters(&segments)?)))
        };
        matching(true).or_else(|| matching(false))
    }

    /// The settings of the route that [`Router::add`] gave this index.
    pub fn settings(&self, index: usize) -> Option<&RouteSettings> {
        self.routes.get(index).map(|route| &route.settings)
    }

    /// The pattern of the route that [`Router::add`] gave this index: what metrics and logs call it.
    pub fn pattern(&self, index: usize) -> Option<&str> {
        self.routes.get(index).map(|route| route.pattern.as_str())
    }
}

impl Route {
    fn is_exact(&self) -> bool {
        self.segments.iter().all(|segment| matches!(segment, Segment::Literal(_)))
    }

    /// The parameters when the decoded segments of a path match.
    fn parameters<S: AsRef<str>>(&self, path: &[S]) -> Option<Parameters> {
        let mut parameters = Parameters::new();
        let mut rest = path;
        for segment in &self.segments {
            let (first, after) = rest.split_first()?;
            match segment {
                Segment::Literal(text) if text == first.as_ref() => {}
                Segment::One(name) if !first.as_ref().is_empty() => {
                    parameters.push((Arc::clone(name), first.as_ref().to_owned()));
                }
                Segment::Rest(name) => {
                    let texts: Vec<_> = rest.iter().map(AsRef::as_ref).collect();
                    parameters.push((Arc::clone(name), texts.join("/")));
                    return Some(parameters);
                }
                _ => return None,
            }
            rest = after;
        }
        rest.is_empty().then_some(parameters)
    }
}

/// Two routes match the same paths when only the names of their parameters differ.
fn is_same_shape(one: &[Segment], other: &[Segment]) -> bool {
    one.len() == other.len()
        && one.iter().zip(other).all(|pair| match pair {
            (Segment::Literal(one), Segment::Literal(other)) => one == other,
            (Segment::One(_), Segment::One(_)) | (Segment::Rest(_), Segment::Rest(_)) => true,
            _ => false,
        })
}

fn segments(pattern: &str) -> Result<Vec<Segment>, String> {
    let Some(path) = pattern.strip_prefix('/') else {
        return Err("must begin with \"/\"".to_owned());
    };
    if let Some(unfit) = path.chars().find(|c| matches!(c, '?' | '#' | '%') || c.is_control()) {
        return Err(format!("{unfit:?} cannot stand in a path; write it decoded, without query or fragment"));
    }
    let texts: Vec<&str> = path.split('/').collect();
    let mut segments = Vec::with_capacity(texts.len());
    let mut names: Vec<&str> = Vec::new();
    for (position, text) in texts.iter().enumerate() {
        let is_last = position + 1 == texts.len();
        if text.is_empty() && !is_last {
            return Err("has an empty segment (\"//\")".to_owned());
        }
        let Some(parameter) = text.strip_prefix('{').and_then(|inner| inner.strip_suffix('}')) else {
            if text.contains(['{', '}']) {
                return Err(format!(
                    "segment {text:?}: a parameter is a whole segment, {{name}} or {{name:path}}"
                ));
            }
            segments.push(Segment::Literal((*text).to_owned()));
            continue;
        };
        let (name, kind) =
            parameter.split_once(':').map_or((parameter, None), |(name, kind)| (name, Some(kind)));
        let is_identifier = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        if !is_identifier {
            return Err(format!("parameter {name:?} is not a name of letters, digits and underscores"));
        }
        if names.contains(&name) {
            return Err(format!("parameter {name:?} occurs twice"));
        }
        names.push(name);
        segments.push(match kind {
            None => Segment::One(name.into()),
            Some("path") if is_last => Segment::Rest(name.into()),
            Some("path") => return Err(format!("{{{name}:path}} takes the rest, so it must come last")),
            Some(kind) => {
                return Err(format!("{{{name}:{kind}}}: only {{{name}}} and {{{name}:path}} are known"));
            }
        });
    }
    Ok(segments)
}
