//! Says a section of the file once: its struct, its defaults and how it is read.
//!
//! `settings!` makes from one list of documented fields the struct (whose doc comments become the reference page and
//! the JSON schema), its `Default`, and its reading from the tree under the same names.

use crate::read::{Fields, Reader};

/// What a section does beyond reading each field by its name.
pub(crate) trait Section: Sized {
    /// Takes keys that no field names, and checks fields against each other.
    fn settle(&mut self, _fields: &mut Fields<'_>, _reader: &mut Reader<'_>) {}
}

/// See the module. `"name"` is the section's list of LiteLLM keys, empty for our own. Fields after `also` are not read
/// by name: [`Section::settle`] fills them.
macro_rules! settings {
    (
        $(#[$meta:meta])*
        pub struct $name:ident in $section:literal {
            $( $(#[$field_meta:meta])* pub $field:ident $(or $alias:literal)* : $type:ty = $default:expr; )*
        }
        $( also { $( $(#[$more_meta:meta])* pub $more:ident : $more_type:ty; )* } )?
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, schemars::JsonSchema)]
        #[schemars(default)]
        pub struct $name {
            $( $(#[$field_meta])* pub $field: $type, )*
            $( $( $(#[$more_meta])* pub $more: $more_type, )* )?
        }

        impl Default for $name {
            fn default() -> Self {
                Self {
                    $( $field: $default, )*
                    $( $( $more: Default::default(), )* )?
                }
            }
        }

        impl $crate::read::FromNode for $name {
            const EXPECTED: &'static str = "a map of settings";

            fn from_node(node: &$crate::tree::Node, reader: &mut $crate::read::Reader<'_>) -> Option<Self> {
                let mut fields = $crate::read::Fields::of(node, $section, reader)?;
                let mut section = Self::default();
                $(
                    if let Some(value) = fields.take::<$type>(reader, stringify!($field), &[$($alias),*]) {
                        section.$field = value;
                    }
                )*
                $crate::section::Section::settle(&mut section, &mut fields, reader);
                fields.finish(reader);
                Some(section)
            }
        }
    };
}

/// An enumeration written as one of a few words.
macro_rules! choice {
    (
        $(#[$meta:meta])*
        pub enum $name:ident { $( $(#[$variant_meta:meta])* $variant:ident = $word:literal $(or $alias:literal)* , )* }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, schemars::JsonSchema)]
        #[schemars(extend("aliases" = [$($($alias,)*)*]))]
        pub enum $name {
            $( $(#[$variant_meta])* #[schemars(rename = $word)] $variant, )*
        }

        impl $name {
            /// The word in the file.
            pub const fn word(self) -> &'static str {
                match self { $( $name::$variant => $word, )* }
            }
        }

        impl $crate::read::FromNode for $name {
            const EXPECTED: &'static str = concat!("one of" $(, " `", $word, "`,")*);

            fn from_node(node: &$crate::tree::Node, reader: &mut $crate::read::Reader<'_>) -> Option<Self> {
                const WORDS: &[&str] = &[$($word),*];
                let $crate::read::Resolved::Text { text, .. } = reader.scalar(node, Self::EXPECTED)? else {
                    return None;
                };
                match text.as_ref() {
                    $( $word $(| $alias)* => Some($name::$variant), )*
                    other => {
                        let near = $crate::nearest::nearest(other, WORDS.iter().copied());
                        let diagnostic = reader.wrong(node, Self::EXPECTED);
                        diagnostic.help.extend(near.map(|near| format!("did you mean `{near}`?")));
                        None
                    }
                }
            }
        }
    };
}

pub(crate) use {choice, settings};
