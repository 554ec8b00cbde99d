//! Receives the words of a command line · hands out the values of its options · owns how they are written:
//! `--name value`, in any order, some more than once.

use std::str::FromStr;

use crate::failure::Failure;

/// Options that nobody has taken yet.
#[derive(Debug)]
pub struct Arguments(Vec<(String, String)>);

impl Arguments {
    /// Reads the words behind the scenario's name.
    ///
    /// # Errors
    /// [`Failure::Usage`]: a word is no option, or an option has no value.
    pub fn read(words: impl IntoIterator<Item = String>) -> Result<Self, Failure> {
        let mut options = Vec::new();
        let mut words = words.into_iter();
        while let Some(word) = words.next() {
            let Some(name) = word.strip_prefix("--") else {
                return Err(Failure::Usage(format!("{word:?} is no option; write --name value")));
            };
            let Some(value) = words.next() else {
                return Err(Failure::Usage(format!("--{name} needs a value")));
            };
            options.push((name.to_owned(), value));
        }
        Ok(Self(options))
    }

    /// Takes every value of an option, in the order given.
    ///
    /// # Errors
    /// [`Failure::Usage`]: a value cannot be read as a `T`.
    pub fn take_all<T: FromStr>(&mut self, name: &str) -> Result<Vec<T>, Failure> {
        let read = |(_, value): (String, String)| {
            value.parse().map_err(|_| Failure::Usage(format!("--{name} cannot be {value:?}")))
        };
        self.0.extract_if(.., |(given, _)| given == name).map(read).collect()
    }

    /// Takes an option that may be given once; `default`: its value when it is not.
    ///
    /// # Errors
    /// [`Failure::Usage`]: it is given twice, or its value cannot be read as a `T`.
    pub fn take<T: FromStr>(&mut self, name: &str, default: T) -> Result<T, Failure> {
        let mut values = self.take_all(name)?;
        match (values.pop(), values.is_empty()) {
            (None, _) => Ok(default),
            (Some(value), true) => Ok(value),
            (Some(_), false) => Err(Failure::Usage(format!("--{name} is given more than once"))),
        }
    }

    /// All have been taken.
    ///
    /// # Errors
    /// [`Failure::Usage`]: one is left, which nobody knows.
    pub fn finish(self) -> Result<(), Failure> {
        let unknown = self.0.first().map(|(name, _)| Failure::Usage(format!("--{name} is no option here")));
        unknown.map_or(Ok(()), Err)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Arguments, Failure> {
        Arguments::read(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn values_are_taken_by_name_and_the_rest_is_an_error() {
        let mut arguments = read("--pid 1 --size 64 --pid 2 --sise 3").unwrap();
        assert_eq!(arguments.take("size", 128).unwrap(), 64);
        assert_eq!(arguments.take("connections", 100).unwrap(), 100);
        assert_eq!(arguments.take_all::<u32>("pid").unwrap(), [1, 2]);
        assert_eq!(arguments.finish().unwrap_err().to_string(), "--sise is no option here");
    }

    #[test]
    fn what_cannot_be_read_says_so() {
        assert_eq!(read("--size").unwrap_err().to_string(), "--size needs a value");
        assert_eq!(read("size").unwrap_err().to_string(), "\"size\" is no option; write --name value");
        let error = read("--size many").unwrap().take("size", 1_usize).unwrap_err();
        assert_eq!(error.to_string(), "--size cannot be \"many\"");
        let error = read("--size 1 --size 2").unwrap().take("size", 1_usize).unwrap_err();
        assert_eq!(error.to_string(), "--size is given more than once");
    }
}
