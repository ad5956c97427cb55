//! Columns of an array of records, without a record in between.

use std::collections::HashMap;

use super::document::Inner;
use super::node::{Child, Kind, Node};
use super::numbers::{Number, number_at};
use super::text::says;
use crate::error::{Error, Result};

/// What one field of all records holds.
#[derive(Debug)]
pub struct Column {
    /// The values, one for each record.
    pub data: ColumnData,
}

/// The values of a [`Column`].
#[derive(Debug)]
pub enum ColumnData {
    /// Truth values.
    Bool(Vec<bool>),
    /// Whole numbers, none with a fraction or exponent.
    Int(Vec<i64>),
    /// Numbers, of which some had a fraction or exponent.
    Float(Vec<f64>),
    /// Strings: the bytes between the quotes, in the text of the document. None where a record has none.
    Text(Vec<Option<(u32, u32)>>),
    /// No record had the field, or there are no records: all of them are filled.
    Missing(usize),
}

/// What stands where a record has no such field, or null in it.
#[derive(Clone, Debug, PartialEq)]
pub enum Fill {
    /// Nothing, which only a column of strings can hold.
    Null,
    /// A truth value.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A number; NaN is one.
    Float(f64),
    /// A string.
    Text(String),
}

/// What each column is filled with.
#[derive(Clone, Debug, Default)]
pub struct Fills {
    /// Of columns that have none of their own.
    pub all: Option<Fill>,
    /// By the name of the column.
    pub by_name: HashMap<String, Fill>,
}

impl Fills {
    /// What the column called `name` is filled with; none if a missing value is an error.
    #[must_use]
    pub fn of(&self, name: &str) -> Option<&Fill> {
        self.by_name.get(name).or(self.all.as_ref())
    }
}

impl Node {
    /// The fields called `names` of this array of objects, one column each, in that order.
    ///
    /// # Errors
    /// [`ErrorKind::WrongKind`] when this is no array; [`ErrorKind::Json`] with the place of a record that is no
    /// object, has no such field and there is no fill, or has a value of another type than those before.
    pub fn columns(&self, names: &[String], fills: &Fills) -> Result<Vec<Column>> {
        crate::fault::point("json::columns");
        let Some(container) = self.container().filter(|_| self.kind() == Kind::Array) else {
            return Err(self.wrong_kind("columns are made of an array of objects", Kind::Array));
        };
        let inner = self.inner();
        let records = inner.containers[container as usize].count as usize;
        let columns = names.iter().map(|name| Builder::new(name, fills.of(name), records));
        let mut table =
            Table { columns: columns.collect(), order: Vec::new(), found: vec![None; names.len()] };
        for record in inner.children(container) {
            table.add(inner, &record).map_err(|wrong| self.wrong_record(&wrong))?;
        }
        table.columns.into_iter().map(|column| column.finish(self)).collect()
    }

    fn wrong_record(&self, wrong: &WrongRecord) -> Error {
        self.document().error_at(wrong.at, wrong.what.clone())
    }
}

struct WrongRecord {
    at: usize,
    what: String,
}

struct Table<'n> {
    columns: Vec<Builder<'n>>,
    /// Which column the members of the first record belong to, by their position: records are mostly alike.
    order: Vec<((u32, u32), Option<usize>)>,
    /// Of the record that is being read.
    found: Vec<Option<u32>>,
}

impl Table<'_> {
    fn add(&mut self, inner: &Inner, record: &Child) -> Result<(), WrongRecord> {
        if inner.kind_of(record.value) != Kind::Object {
            return Err(WrongRecord {
                at: record.value.at as usize,
                what: "an object is expected here".into(),
            });
        }
        self.found.fill(None);
        let is_first = self.order.is_empty();
        for (position, member) in inner.children(record.value.container).enumerate() {
            let column = match self.order.get(position) {
                Some((key, column)) if inner.raw(*key) == inner.raw(member.key) => *column,
                _ => {
                    let raw = inner.raw(member.key);
                    self.columns.iter().position(|column| says(raw, column.name.as_bytes()))
                }
            };
            if is_first {
                self.order.push((member.key, column));
            }
            if let Some(column) = column {
                // A key that is there twice: the last counts.
                self.found[column] = Some(member.value.at);
            }
        }
        for (column, found) in self.columns.iter_mut().zip(&self.found) {
            let present = found.map(|at| at as usize).filter(|at| inner.text[*at] != b'n');
            let at = found.unwrap_or(record.value.at) as usize;
            match present {
                Some(at) => column.push(inner, at),
                None => column.push_fill(),
            }
            .map_err(|what| WrongRecord { at, what })?;
        }
        Ok(())
    }
}

struct Builder<'n> {
    name: &'n str,
    fill: Option<&'n Fill>,
    /// How many values there will be.
    records: usize,
    data: ColumnData,
}

impl<'n> Builder<'n> {
    fn new(name: &'n str, fill: Option<&'n Fill>, records: usize) -> Self {
        Self { name, fill, records, data: ColumnData::Missing(0) }
    }

    fn push(&mut self, inner: &Inner, at: usize) -> Result<(), String> {
        match inner.text[at] {
            b'"' => {
                let raw =
                    (super::document::position(at + 1), super::document::position(inner.string_end(at)));
                self.push_text(Some(raw))
            }
            byte @ (b't' | b'f') => self.push_bool(byte == b't'),
            b'-' | b'0'..=b'9' => match number_at(&inner.text, at).0 {
                Number::Signed(number) => self.push_int(number),
                Number::Float(number) if number.is_finite() => self.push_float(number),
                Number::Float(_) => Err(self.says("has a number larger than a double holds")),
                Number::Unsigned(_) | Number::Large(_) => Err(self.says("has a number beyond int64")),
            },
            _ => {
                Err(self.says("has an array or object here: columns are of numbers, truth values or strings"))
            }
        }
    }

    fn push_fill(&mut self) -> Result<(), String> {
        match (self.fill, &mut self.data) {
            (None, _) => Err(self.says("is missing or null here: pass fill")),
            // Until a value says what the column is.
            (_, ColumnData::Missing(count)) => {
                *count += 1;
                Ok(())
            }
            (Some(fill), _) => self.push_value(&fill.clone()),
        }
    }

    fn push_value(&mut self, fill: &Fill) -> Result<(), String> {
        match fill {
            Fill::Bool(value) => self.push_bool(*value),
            Fill::Int(value) => self.push_int(*value),
            Fill::Float(value) => self.push_float(*value),
            Fill::Null | Fill::Text(_) => self.push_text(None),
        }
    }

    /// Make the column one of `data`, with what was missing so far filled.
    fn settle(&mut self, data: impl FnOnce(usize) -> ColumnData) -> Result<(), String> {
        if let ColumnData::Missing(count) = self.data {
            self.data = data(self.records);
            for _ in 0..count {
                let fill = self.fill.expect("only what has a fill may be missing").clone();
                self.push_value(&fill)?;
            }
        }
        Ok(())
    }

    fn push_bool(&mut self, value: bool) -> Result<(), String> {
        self.settle(|records| ColumnData::Bool(Vec::with_capacity(records)))?;
        match &mut self.data {
            ColumnData::Bool(values) => {
                values.push(value);
                Ok(())
            }
            _ => Err(self.differs("a truth value")),
        }
    }

    fn push_int(&mut self, value: i64) -> Result<(), String> {
        self.settle(|records| ColumnData::Int(Vec::with_capacity(records)))?;
        match &mut self.data {
            ColumnData::Int(values) => values.push(value),
            #[expect(clippy::cast_precision_loss, reason = "rounded to the nearest, as its text would be")]
            ColumnData::Float(values) => values.push(value as f64),
            _ => return Err(self.differs("a number")),
        }
        Ok(())
    }

    fn push_float(&mut self, value: f64) -> Result<(), String> {
        self.settle(|records| ColumnData::Float(Vec::with_capacity(records)))?;
        if let ColumnData::Int(values) = &self.data {
            let mut floats = Vec::with_capacity(self.records);
            #[expect(clippy::cast_precision_loss, reason = "rounded to the nearest, as its text would be")]
            floats.extend(values.iter().map(|value| *value as f64));
            self.data = ColumnData::Float(floats);
        }
        match &mut self.data {
            ColumnData::Float(values) => {
                values.push(value);
                Ok(())
            }
            _ => Err(self.differs("a number")),
        }
    }

    fn push_text(&mut self, raw: Option<(u32, u32)>) -> Result<(), String> {
        self.settle(|records| ColumnData::Text(Vec::with_capacity(records)))?;
        match &mut self.data {
            ColumnData::Text(values) => {
                values.push(raw);
                Ok(())
            }
            _ => Err(self.differs(if raw.is_some() { "a string" } else { "a fill that is no number" })),
        }
    }

    fn finish(mut self, node: &Node) -> Result<Column> {
        if let (ColumnData::Missing(1..), Some(fill)) = (&self.data, self.fill) {
            // What the fill is decides what the column is.
            let empty = match fill {
                Fill::Bool(_) => ColumnData::Bool(Vec::new()),
                Fill::Int(_) => ColumnData::Int(Vec::new()),
                Fill::Float(_) => ColumnData::Float(Vec::new()),
                Fill::Null | Fill::Text(_) => ColumnData::Text(Vec::new()),
            };
            self.settle(|_| empty).map_err(|what| node.error(what))?;
        }
        Ok(Column { data: self.data })
    }

    fn says(&self, what: &str) -> String {
        format!("the field {:?} {what}", self.name.chars().take(100).collect::<String>())
    }

    fn differs(&self, found: &str) -> String {
        let before = match self.data {
            ColumnData::Bool(_) => "truth values",
            ColumnData::Int(_) | ColumnData::Float(_) => "numbers",
            _ => "strings",
        };
        self.says(&format!("is {found} here, and was {before} before"))
    }
}
