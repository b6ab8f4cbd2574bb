//! A query string read parameter by parameter, so that everything wrong is told at once: unknown ones, those given twice, and
//! unusable values. Ignored, a filter misspelt would answer with everything.

use std::fmt::Display;

use axum::extract::{Query, rejection::QueryRejection};
use payment_contract::Currency;

use super::{Error, fields::without_name, problem::FieldError};

const DEFAULT_LIMIT: usize = 100;
const MAX_LIMIT: usize = 1000;

/// As a handler gets it.
pub type RawQuery = Result<Query<Vec<(String, String)>>, QueryRejection>;

/// The parameters as they came, and what has been found wrong so far.
#[derive(Debug)]
pub struct Parameters {
    left: Vec<(String, String)>,
    errors: Vec<FieldError>,
}

impl Parameters {
    /// Of a query that can be read at all.
    pub fn try_new(query: RawQuery) -> Result<Self, Error> {
        match query {
            Ok(Query(left)) => Ok(Self {
                left,
                errors: Vec::new(),
            }),
            Err(_) => Err(Error::Malformed("the query cannot be read".to_owned())),
        }
    }

    /// Refuses any, where there are none.
    pub fn none(query: RawQuery) -> Result<(), Error> {
        Self::try_new(query)?.finish()
    }

    /// Takes a parameter, or notes what is wrong with it.
    pub fn take<T, E: Display>(
        &mut self,
        name: &'static str,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Option<T> {
        let mut found = None;
        while let Some(place) = self.left.iter().position(|(other, _)| other == name) {
            let (_, value) = self.left.remove(place);
            if found.replace(value).is_some() {
                self.wrong(name, "is given twice");
            }
        }
        match parse(&found?) {
            Ok(value) => Some(value),
            Err(problem) => {
                self.wrong(name, &without_name(name, &problem.to_string()));
                None
            }
        }
    }

    pub fn currency(&mut self) -> Option<Currency> {
        self.take("currency", Currency::try_new)
    }

    /// The most of a page.
    pub fn limit(&mut self) -> usize {
        let limit = self.take("limit", |text| {
            let limit = text.parse().ok().filter(|limit| (1..=MAX_LIMIT).contains(limit));
            limit.ok_or_else(|| format!("must be a whole number from 1 to {MAX_LIMIT}"))
        });
        limit.unwrap_or(DEFAULT_LIMIT)
    }

    /// Notes what is wrong with a parameter.
    pub fn wrong(&mut self, name: &str, problem: &str) {
        // What is echoed stays short, however long the name sent.
        self.errors.push(FieldError::new(
            name.chars().take(64).collect::<String>(),
            problem,
        ));
    }

    /// Everything wrong, parameters nobody took included.
    pub fn finish(mut self) -> Result<(), Error> {
        for (name, _) in std::mem::take(&mut self.left) {
            self.wrong(&name, "is not known");
        }
        if self.errors.is_empty() {
            Ok(())
        } else {
            Err(Error::Invalid(self.errors))
        }
    }
}
