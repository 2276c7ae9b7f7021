//! The `tojson` filter as chat templates expect it: Python's spacing, and no escaping for HTML.

use minijinja::value::{Kwargs, ValueKind};
use minijinja::{Error, ErrorKind, State, Value};

const MAX_DEPTH: usize = 64;
const MAX_INDENT: usize = 16;

pub(super) fn to_json(state: &State, value: &Value, indent: Option<usize>, options: Kwargs) -> Result<String, Error> {
    let indent = match indent {
        Some(indent) => Some(indent),
        None => options.get("indent")?,
    };
    // Python's default is to escape; every known template that names the option turns it off, as is done here.
    let _: Option<bool> = options.get("ensure_ascii")?;
    options.assert_all_used()?;
    let mut text = String::new();
    write(&mut text, state, value, indent.map(|spaces| spaces.min(MAX_INDENT)), 1)?;
    Ok(text)
}

fn write(out: &mut String, state: &State, value: &Value, indent: Option<usize>, depth: usize) -> Result<(), Error> {
    state.consume_fuel(1)?;
    if depth > MAX_DEPTH {
        return Err(Error::new(ErrorKind::BadSerialization, "the value is nested too deep for JSON"));
    }
    match value.kind() {
        ValueKind::Map => {
            out.push('{');
            let mut empty = true;
            for key in value.try_iter()? {
                open_item(out, indent, depth, empty);
                empty = false;
                let name = key.as_str().map_or_else(|| key.to_string(), str::to_owned);
                scalar(out, state, &Value::from(name))?;
                out.push_str(": ");
                write(out, state, &value.get_item(&key)?, indent, depth + 1)?;
            }
            close(out, indent, depth, empty, '}');
        }
        ValueKind::Seq | ValueKind::Iterable => {
            out.push('[');
            let mut empty = true;
            for item in value.try_iter()? {
                open_item(out, indent, depth, empty);
                empty = false;
                write(out, state, &item, indent, depth + 1)?;
            }
            close(out, indent, depth, empty, ']');
        }
        _ => scalar(out, state, value)?,
    }
    Ok(())
}

fn scalar(out: &mut String, state: &State, value: &Value) -> Result<(), Error> {
    let text = serde_json::to_string(value)
        .map_err(|error| Error::new(ErrorKind::BadSerialization, "the value has no JSON form").with_source(error))?;
    state.consume_fuel(text.len() as u64 / 64)?;
    out.push_str(&text);
    Ok(())
}

fn open_item(out: &mut String, indent: Option<usize>, depth: usize, first: bool) {
    match indent {
        None if first => {}
        None => out.push_str(", "),
        Some(spaces) => {
            if !first {
                out.push(',');
            }
            out.push('\n');
            out.extend(std::iter::repeat_n(' ', spaces * depth));
        }
    }
}

fn close(out: &mut String, indent: Option<usize>, depth: usize, empty: bool, bracket: char) {
    if let Some(spaces) = indent
        && !empty
    {
        out.push('\n');
        out.extend(std::iter::repeat_n(' ', spaces * (depth - 1)));
    }
    out.push(bracket);
}
