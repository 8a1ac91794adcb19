//! The code of `#[derive(RecordField)]`: structs as STRUCT columns, enums as text.

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::{Data, DataEnum, DeriveInput, Fields, FieldsNamed, Ident, LitStr, Path, Result, Variant};

use crate::attributes::{Given, Problems, each_entry, once, text, unknown};
use crate::case::Case;
use crate::container::Container;
use crate::field::{FieldModel, Owner};
use crate::record::{fallback, place_of, skipped_field, variables};
use crate::serde_attributes;
use crate::table::{refuse_equal_names, refuse_generics};
use crate::types;

/// The implementation of `RecordField`.
pub(crate) fn expand(input: &DeriveInput) -> Result<TokenStream> {
    let mut problems = Problems::default();
    refuse_generics(&input.generics, "a value of a column", &mut problems);
    let container = Container::of_value(input, &mut problems);
    let text = match &input.data {
        Data::Struct(data) => match &data.fields {
            Fields::Named(fields) if !fields.named.is_empty() => {
                return expand_struct(input, (container, fields), problems);
            }
            Fields::Named(_) | Fields::Unit => {
                "a value of a column has at least one field: write struct Name { field: Type, … }"
            }
            Fields::Unnamed(_) => {
                "the parts of a STRUCT column have names: write struct Name { field: Type, … }"
            }
        },
        Data::Enum(data) => return expand_enum(input, (container, data), problems),
        Data::Union(_) => "a union cannot be read without knowing what it holds: use an enum",
    };
    problems.at(&input.ident, text);
    problems.finish()?;
    Ok(TokenStream::new())
}

fn expand_struct(
    input: &DeriveInput,
    (container, fields): (Container, &FieldsNamed),
    mut problems: Problems,
) -> Result<TokenStream> {
    let fields: Vec<FieldModel> = fields
        .named
        .iter()
        .filter_map(|field| FieldModel::read(field, &container, Owner::Value, &mut problems))
        .collect();
    let parts: Vec<&FieldModel> = fields.iter().filter(|field| !field.skip).collect();
    for part in &parts {
        problems.keep(types::check_column(&part.ty));
    }
    refuse_equal_names(&parts, &mut problems);
    if parts.is_empty() {
        problems.at(
            &input.ident,
            "every field is skipped, so that no value is left: skip the field that has this type",
        );
    }
    problems.finish()?;
    Ok(struct_tokens(input, &container, &fields))
}

fn struct_tokens(input: &DeriveInput, container: &Container, fields: &[FieldModel]) -> TokenStream {
    let (ident, netabase) = (&input.ident, container.netabase());
    let parts: Vec<&FieldModel> = fields.iter().filter(|field| !field.skip).collect();
    let types = parts.iter().map(|part| {
        let (name, ty) = (&part.name, &part.ty);
        quote_spanned!(place_of(ty)=> #netabase::typed::derive::part::<#ty>(#name))
    });
    let writes = parts.iter().map(|part| {
        let (ident, name, ty) = (&part.ident, &part.name, &part.ty);
        quote_spanned!(place_of(ty)=> writer.part::<#ty>(#name, |value: &Self| &value.#ident)?;)
    });
    let names = variables(parts.len());
    let reads = parts.iter().zip(&names).map(|(part, variable)| {
        let (name, ty, fallback) = (&part.name, &part.ty, fallback(part));
        quote_spanned! {place_of(ty)=>
            let mut #variable = reader.part::<#ty>(#name, #fallback)?.into_iter();
        }
    });
    let idents = parts.iter().map(|part| &part.ident);
    let skipped = fields.iter().filter(|field| field.skip).map(skipped_field);
    quote! {
        #[automatically_derived]
        impl #netabase::typed::RecordField for #ident {
            type Plain = Self;

            fn data_type() -> #netabase::arrow::datatypes::DataType {
                #netabase::typed::derive::struct_type(::std::vec![#(#types,)*])
            }

            fn write(
                values: &[::core::option::Option<&Self>],
            ) -> ::core::result::Result<
                #netabase::arrow::array::ArrayRef,
                #netabase::typed::Misfit,
            > {
                let mut writer = #netabase::typed::derive::StructWriter::new(values);
                #(#writes)*
                writer.finish()
            }

            fn read(
                column: &#netabase::arrow::array::ArrayRef,
            ) -> ::core::result::Result<
                ::std::vec::Vec<::core::option::Option<Self>>,
                #netabase::typed::Misfit,
            > {
                let reader = #netabase::typed::derive::StructReader::new(column)?;
                #(#reads)*
                let mut values = ::std::vec::Vec::with_capacity(column.len());
                while let (#(::core::option::Option::Some(#names),)*) = (#(#names.next(),)*) {
                    values.push(match (#(#names,)*) {
                        (#(::core::option::Option::Some(#names),)*) => {
                            ::core::option::Option::Some(Self {
                                #(#idents: #names,)*
                                #(#skipped,)*
                            })
                        }
                        _ => ::core::option::Option::None,
                    });
                }
                ::core::result::Result::Ok(values)
            }
        }
    }
}

fn expand_enum(
    input: &DeriveInput,
    (container, data): (Container, &DataEnum),
    mut problems: Problems,
) -> Result<TokenStream> {
    if let Some(given) = &container.default {
        problems.at(
            &given.at,
            "`default` belongs to a field: write it where the enum is a field of a record",
        );
    }
    if data.variants.is_empty() {
        problems.at(
            &input.ident,
            "an enum without variants has no value to store: give it one",
        );
    }
    let mut texts: Vec<(&Variant, String)> = Vec::with_capacity(data.variants.len());
    for variant in &data.variants {
        if !matches!(variant.fields, Fields::Unit) {
            problems.at(
                &variant.fields,
                "a variant with data is no text: take the data out, or make the field \
                 #[record(codec = \"json\")] without this derive",
            );
        }
        let text = variant_text(variant, container.case(), &mut problems);
        if let Some((first, _)) = texts.iter().find(|(_, other)| *other == text) {
            problems.at(
                &variant.ident,
                format!(
                    "`{text}` is the text of variant `{}` already: give one of them another with \
                     #[record(rename = \"…\")]",
                    first.ident
                ),
            );
        }
        texts.push((variant, text));
    }
    problems.finish()?;
    Ok(enum_tokens(input, &container.netabase(), &texts))
}

fn variant_text(variant: &Variant, case: Option<Case>, problems: &mut Problems) -> String {
    let mut rename: Option<Given<LitStr>> = None;
    each_entry(&variant.attrs, problems, |meta| {
        if meta.path.is_ident("rename") {
            let name = text(meta, "rename = \"text\"")?;
            return once(&mut rename, meta, name);
        }
        let hints = [
            (
                "skip",
                "a value that cannot be stored cannot be in the enum",
            ),
            ("default", "write it where the enum is a field of a record"),
            ("name", "write rename = \"…\""),
        ];
        Err(unknown(meta, "a variant", &["rename"], &hints))
    });
    let serde = serde_attributes::read(&variant.attrs, problems);
    if serde.skip {
        problems.at(
            &variant.ident,
            "serde skips this variant, and a table cannot: a value that cannot be stored cannot be \
             in the enum",
        );
    }
    if rename.is_none()
        && let Some(two) = serde.two_names
    {
        problems.add(two);
    }
    match (rename, serde.rename) {
        (Some(given), _) => given.value.value(),
        (None, Some(name)) => name.value(),
        (None, None) => case.unwrap_or(Case::Pascal).of_variant(&variant.ident),
    }
}

fn enum_tokens(input: &DeriveInput, netabase: &Path, texts: &[(&Variant, String)]) -> TokenStream {
    let ident = &input.ident;
    let variants: Vec<_> = texts.iter().map(|(variant, _)| &variant.ident).collect();
    let names: Vec<_> = texts.iter().map(|(_, text)| text).collect();
    let as_key = enum_key_tokens(ident, netabase);
    quote! {
        #[automatically_derived]
        impl #netabase::typed::TextEnum for #ident {
            const TEXTS: &'static [&'static str] = &[#(#names),*];

            fn text(&self) -> &'static str {
                match self {
                    #(Self::#variants => #names,)*
                }
            }

            fn of_text(text: &str) -> ::core::option::Option<Self> {
                match text {
                    #(#names => ::core::option::Option::Some(Self::#variants),)*
                    _ => ::core::option::Option::None,
                }
            }
        }

        #[automatically_derived]
        impl #netabase::typed::RecordField for #ident {
            type Plain = Self;

            fn data_type() -> #netabase::arrow::datatypes::DataType {
                #netabase::typed::derive::text_type()
            }

            fn write(
                values: &[::core::option::Option<&Self>],
            ) -> ::core::result::Result<
                #netabase::arrow::array::ArrayRef,
                #netabase::typed::Misfit,
            > {
                #netabase::typed::derive::write_enum(values)
            }

            fn read(
                column: &#netabase::arrow::array::ArrayRef,
            ) -> ::core::result::Result<
                ::std::vec::Vec<::core::option::Option<Self>>,
                #netabase::typed::Misfit,
            > {
                #netabase::typed::derive::read_enum(column)
            }
        }

        #as_key
    }
}

/// What an enum is in keys and filters.
fn enum_key_tokens(ident: &Ident, netabase: &Path) -> TokenStream {
    quote! {
        #[automatically_derived]
        impl #netabase::typed::KeyField for #ident {
            type Ref<'key> = &'key Self;

            fn key_ref(&self) -> &Self {
                self
            }

            fn key_column(
                key: &Self,
            ) -> ::core::result::Result<
                #netabase::arrow::array::ArrayRef,
                #netabase::typed::Misfit,
            > {
                #netabase::typed::derive::write_enum(&[::core::option::Option::Some(key)])
            }
        }

        #[automatically_derived]
        impl<R> #netabase::typed::Operand<R, #ident> for #ident {
            fn into_expr(self) -> #netabase::datafusion::logical_expr::Expr {
                #netabase::typed::derive::text_literal(#netabase::typed::TextEnum::text(&self))
            }
        }
    }
}
