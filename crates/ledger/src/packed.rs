//! Receipts in the bytes that the journal holds: the row that books keep, column by column.
//!
//! A receipt is taken apart once, when its call is over. From there its row goes through the journal into the store
//! without being put together again: what adds up is read where it lies, and the rest is passed on unread.
//!
//! A packed receipt is the number of its columns, these columns, and the detail as a [record](crate::journal::record). A
//! column begins with a number of which the lowest two bits say what it is: nothing, an integer (zigzag), or the length of
//! a text, which follows. Numbers are little-endian groups of six bits with a seventh that says whether there are more, so
//! that no byte of them looks like the mark that a journal's frames begin with. A version may add columns at the end;
//! they are null where an older one wrote the record.

use std::borrow::Cow;
use std::ops::Range;

use tollway_store::sql::Cells;
use tollway_store::{StoreError, StoreResult};

use crate::books::Millis;
use crate::books::line::{self, COLUMNS, Columns, Detail, Line};
use crate::journal::record;
use crate::receipt::Receipt;

/// A receipt in bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PackedReceipt<'a>(pub(crate) &'a [u8]);

/// A column's value, where it lies.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Cell<'a> {
    #[default]
    Null,
    Int(i64),
    Text(&'a str),
}

/// What a packed receipt begins with.
#[expect(clippy::cast_possible_truncation, reason = "a line has some dozens")]
const COUNT: u8 = COLUMNS as u8;

const NULL: u8 = 0;
const INT: u8 = 1;
const TEXT: u8 = 2;

/// A number's byte is followed by another one.
const MORE: u8 = 0x40;

fn broken() -> StoreError {
    StoreError::Broken("a receipt cannot be read from its record".to_owned())
}

/// Writes a receipt behind what is in `buffer`.
pub(crate) fn pack(buffer: &mut Vec<u8>, receipt: &Receipt) -> StoreResult<()> {
    buffer.push(COUNT);
    Line::of(receipt).write(&mut Packer(buffer))?;
    record::write(buffer, &Detail::of(receipt))
        .map_err(|error| StoreError::Broken(format!("receipt {} cannot be written: {error}", receipt.id)))
}

struct Packer<'a>(&'a mut Vec<u8>);

impl Packer<'_> {
    fn number(&mut self, kind: u8, number: u64) {
        // Its lowest four bits stand beside the kind.
        let mut byte = kind | ((number & 0xf) as u8) << 2;
        let mut rest = number >> 4;
        while rest > 0 {
            self.0.push(byte | MORE);
            (byte, rest) = ((rest & 0x3f) as u8, rest >> 6);
        }
        self.0.push(byte);
    }
}

impl Cells for Packer<'_> {
    fn int(&mut self, value: Option<i64>) {
        match value {
            #[expect(clippy::cast_sign_loss, reason = "zigzag: the sign is the lowest bit")]
            Some(value) => self.number(INT, ((value << 1) ^ (value >> 63)) as u64),
            None => self.0.push(NULL),
        }
    }

    fn text(&mut self, value: Option<&str>) {
        match value {
            Some(text) => {
                self.number(TEXT, text.len() as u64);
                self.0.extend_from_slice(text.as_bytes());
            }
            None => self.0.push(NULL),
        }
    }

    /// No column of a line holds bytes.
    fn bytes(&mut self, _: &[u8]) {}
}

/// Takes cells from the beginning of bytes.
struct Unpacker<'a>(&'a [u8]);

impl<'a> Unpacker<'a> {
    fn byte(&mut self) -> Option<u8> {
        let (byte, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*byte)
    }

    fn cell(&mut self) -> Option<Cell<'a>> {
        let mut byte = self.byte()?;
        let kind = byte & 3;
        let (mut number, mut shift) = (u64::from(byte >> 2 & 0xf), 4);
        while byte & MORE != 0 && shift < u64::BITS {
            byte = self.byte()?;
            number |= u64::from(byte & 0x3f) << shift;
            shift += 6;
        }
        match kind {
            NULL => Some(Cell::Null),
            #[expect(clippy::cast_possible_wrap, reason = "zigzag: the sign is the lowest bit")]
            INT => Some(Cell::Int((number >> 1) as i64 ^ -((number & 1) as i64))),
            TEXT => {
                let (text, rest) = self.0.split_at_checked(usize::try_from(number).ok()?)?;
                self.0 = rest;
                std::str::from_utf8(text).ok().map(Cell::Text)
            }
            _ => None,
        }
    }
}

/// The columns of a packed receipt, and the detail behind them.
struct Opened<'a> {
    columns: [Cell<'a>; COLUMNS],
    detail: &'a [u8],
}

impl<'a> Columns<'a> for Opened<'a> {
    fn int(&self, column: usize) -> StoreResult<Option<i64>> {
        match self.columns.get(column) {
            Some(Cell::Int(value)) => Ok(Some(*value)),
            Some(Cell::Null) => Ok(None),
            _ => Err(broken()),
        }
    }

    fn text(&self, column: usize) -> StoreResult<Option<Cow<'a, str>>> {
        match self.columns.get(column) {
            Some(Cell::Text(value)) => Ok(Some(Cow::Borrowed(value))),
            Some(Cell::Null) => Ok(None),
            _ => Err(broken()),
        }
    }
}

impl<'a> PackedReceipt<'a> {
    /// Its id.
    pub(crate) fn id(self) -> StoreResult<&'a str> {
        match self.begin().and_then(|(_, mut cells)| cells.cell()) {
            Some(Cell::Text(id)) => Ok(id),
            _ => Err(broken()),
        }
    }

    /// When its call arrived.
    pub(crate) fn at(self) -> StoreResult<Millis> {
        let second = self.begin().and_then(|(_, mut cells)| cells.cell().and_then(|_| cells.cell()));
        match second {
            Some(Cell::Int(at)) => Ok(at),
            _ => Err(broken()),
        }
    }

    /// The row without its detail.
    pub(crate) fn line(self) -> StoreResult<Line<'a>> {
        Line::read(&self.open()?)
    }

    /// The receipt, put together again.
    pub(crate) fn receipt(self) -> StoreResult<Receipt> {
        let opened = self.open()?;
        let detail = record::read(opened.detail).map_err(|_| broken())?;
        Ok(line::receipt(Line::read(&opened)?, detail))
    }

    /// Passes every column on, and the detail.
    pub(crate) fn write(self, cells: &mut dyn Cells) -> StoreResult<()> {
        let opened = self.open()?;
        for cell in opened.columns {
            match cell {
                Cell::Null => cells.text(None),
                Cell::Int(value) => cells.int(Some(value)),
                Cell::Text(value) => cells.text(Some(value)),
            }
        }
        cells.bytes(opened.detail);
        Ok(())
    }

    /// How many columns it has, and what they lie in.
    fn begin(self) -> Option<(usize, Unpacker<'a>)> {
        let (count, rest) = self.0.split_first()?;
        Some((usize::from(*count), Unpacker(rest)))
    }

    fn open(self) -> StoreResult<Opened<'a>> {
        let (count, mut cells) = self.begin().ok_or_else(broken)?;
        let mut columns = [Cell::Null; COLUMNS];
        for place in columns.iter_mut().take(count) {
            *place = cells.cell().ok_or_else(broken)?;
        }
        for _ in COLUMNS..count {
            cells.cell().ok_or_else(broken)?;
        }
        Ok(Opened { columns, detail: cells.0 })
    }
}

/// Packed receipts in one piece of memory.
#[derive(Debug, Default)]
pub(crate) struct PackedReceipts {
    bytes: Vec<u8>,
    /// Where each lies, in any order.
    places: Vec<Range<usize>>,
}

impl PackedReceipts {
    /// Room for so many bytes.
    pub(crate) fn with_capacity(bytes: usize) -> PackedReceipts {
        PackedReceipts { bytes: Vec::with_capacity(bytes), places: Vec::new() }
    }

    /// Packs receipts.
    pub(crate) fn of<'a>(receipts: impl IntoIterator<Item = &'a Receipt>) -> StoreResult<PackedReceipts> {
        let mut packed = PackedReceipts::default();
        for receipt in receipts {
            let start = packed.bytes.len();
            pack(&mut packed.bytes, receipt)?;
            packed.places.push(start..packed.bytes.len());
        }
        Ok(packed)
    }

    /// Adds one.
    pub(crate) fn push(&mut self, receipt: PackedReceipt<'_>) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(receipt.0);
        self.places.push(start..self.bytes.len());
    }

    pub(crate) fn len(&self) -> usize {
        self.places.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    pub(crate) fn get(&self, index: usize) -> Option<PackedReceipt<'_>> {
        self.at(self.places.get(index)?)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = PackedReceipt<'_>> {
        self.places.iter().filter_map(|place| self.at(place))
    }

    /// Puts them in the order of their ids, each once, and shows what adds up of them to `see`. Those that cannot be read
    /// are left out; returns how many that were.
    pub(crate) fn sort<T>(&mut self, see: impl FnOnce(&[Line<'_>]) -> T) -> (T, usize) {
        let mut by_id: Vec<(&str, &Range<usize>)> = Vec::with_capacity(self.len());
        by_id.extend(self.places.iter().filter_map(|place| Some((self.at(place)?.id().ok()?, place))));
        let mut unreadable = self.len() - by_id.len();
        by_id.sort_by_key(|(id, _)| *id);
        by_id.dedup_by_key(|(id, _)| *id);
        let (mut places, mut lines) = (Vec::with_capacity(by_id.len()), Vec::with_capacity(by_id.len()));
        for (_, place) in by_id {
            match self.at(place).map(PackedReceipt::line) {
                Some(Ok(line)) => {
                    lines.push(line);
                    places.push(place.clone());
                }
                _ => unreadable += 1,
            }
        }
        let seen = see(&lines);
        drop(lines);
        self.places = places;
        (seen, unreadable)
    }

    fn at(&self, place: &Range<usize>) -> Option<PackedReceipt<'_>> {
        self.bytes.get(place.clone()).map(PackedReceipt)
    }
}

#[cfg(test)]
mod tests;
