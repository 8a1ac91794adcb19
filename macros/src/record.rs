//! The code of `#[derive(Record)]`.
//!
//! Idea: generated code lists fields and calls the crate `netabase`, which does everything that does
//! not depend on their types.

use proc_macro2::{Ident, Span, TokenStream};
use quote::{format_ident, quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{DeriveInput, Result, Type};

use crate::container::Compression;
use crate::field::{Fallback, FieldModel, ValueCodec};
use crate::table::TableModel;
use crate::types;

/// The implementation of `Record`, and the struct of the columns.
pub(crate) fn expand(input: &DeriveInput) -> Result<TokenStream> {
    let model = TableModel::read(input)?;
    let parts = Parts {
        record: &input.ident,
        columns_type: format_ident!("{}Columns", input.ident),
        netabase: model.container.netabase(),
        model: &model,
    };
    let columns_struct = parts.columns_struct(&input.vis);
    let implementation = parts.implementation();
    Ok(quote! {
        #columns_struct
        #implementation
    })
}

struct Parts<'a> {
    record: &'a Ident,
    columns_type: Ident,
    netabase: syn::Path,
    model: &'a TableModel,
}

impl Parts<'_> {
    fn columns_struct(&self, vis: &syn::Visibility) -> TokenStream {
        let Self {
            record,
            columns_type,
            netabase,
            ..
        } = self;
        let fields = self.model.columns().map(|column| {
            let (vis, ident, name) = (&column.vis, &column.ident, &column.name);
            let ty = column.column_type();
            let text = format!("Column `{name}`.");
            quote!(#[doc = #text] #vis #ident: #netabase::typed::Column<#record, #ty>)
        });
        let text = format!("The columns of [`{record}`], for filters.");
        quote! {
            #[doc = #text]
            #[derive(Debug, Clone, Copy)]
            #[allow(dead_code, non_snake_case, non_camel_case_types)]
            #vis struct #columns_type { #(#fields,)* }
        }
    }

    fn implementation(&self) -> TokenStream {
        let Self {
            record,
            columns_type,
            netabase,
            ..
        } = self;
        let key_type = self.key_type();
        let key_type = quote_spanned!(self.place_of_key()=> type Key<'key> = #key_type;);
        let shape = self.shape();
        let columns = self.model.columns().map(|column| {
            let (ident, name) = (&column.ident, &column.name);
            quote!(#ident: #netabase::typed::Column::new(#name))
        });
        let key = self.key();
        let key_columns = self.key_columns();
        let to_batch = self.to_batch();
        let from_batch = self.reading();
        quote! {
            #[automatically_derived]
            impl #netabase::typed::Record for #record {
                #key_type
                type Columns = #columns_type;

                fn shape() -> &'static #netabase::typed::Shape {
                    static SHAPE: ::std::sync::OnceLock<#netabase::typed::Shape> =
                        ::std::sync::OnceLock::new();
                    SHAPE.get_or_init(|| #shape)
                }

                fn columns() -> Self::Columns {
                    #columns_type { #(#columns,)* }
                }

                #key
                #key_columns
                #to_batch
                #from_batch
            }
        }
    }

    fn key_fields(&self) -> Vec<&FieldModel> {
        let columns: Vec<&FieldModel> = self.model.columns().collect();
        let fields = self.model.key.iter();
        fields
            .filter_map(|place| columns.get(*place).copied())
            .collect()
    }

    /// One type, or a tuple of several.
    fn key_type(&self) -> TokenStream {
        let netabase = &self.netabase;
        let types = self.key_fields().into_iter().map(|field| {
            let ty = &field.ty;
            quote_spanned!(place_of(ty)=> <#ty as #netabase::typed::KeyField>::Ref<'key>)
        });
        one_or_tuple(types.collect())
    }

    /// Where the compiler complains about the key's type: at the first type that the program may have
    /// made, which a public record must not keep private.
    fn place_of_key(&self) -> Span {
        let fields = self.key_fields();
        let own = fields.iter().find(|field| !types::is_common(&field.ty));
        own.map_or_else(Span::call_site, |field| place_of(&field.ty))
    }

    fn key(&self) -> TokenStream {
        let netabase = &self.netabase;
        let values = self.key_fields().into_iter().map(|field| {
            let (ident, ty) = (&field.ident, &field.ty);
            quote!(<#ty as #netabase::typed::KeyField>::key_ref(&self.#ident))
        });
        let values = one_or_tuple(values.collect());
        quote!(fn key(&self) -> Self::Key<'_> { #values })
    }

    fn key_columns(&self) -> TokenStream {
        let netabase = &self.netabase;
        let fields = self.key_fields();
        let names: Vec<Ident> = (0..fields.len())
            .map(|at| format_ident!("key{at}"))
            .collect();
        let arrays = fields.iter().zip(&names).map(|(field, name)| {
            let (ty, column) = (&field.ty, &field.name);
            quote! {
                #netabase::typed::derive::key_column::<Self>(
                    #column,
                    <#ty as #netabase::typed::KeyField>::key_column(#name),
                )?
            }
        });
        let pattern = one_or_tuple(names.iter().map(|name| quote!(#name)).collect());
        quote! {
            fn key_columns(
                key: Self::Key<'_>,
            ) -> ::core::result::Result<
                ::std::vec::Vec<#netabase::arrow::array::ArrayRef>,
                #netabase::typed::ConversionError,
            > {
                let #pattern = key;
                ::core::result::Result::Ok(::std::vec![#(#arrays,)*])
            }
        }
    }

    fn shape(&self) -> TokenStream {
        let Self {
            netabase, model, ..
        } = self;
        let columns = model.columns().map(|column| {
            let name = &column.name;
            let has_default = column.fallback.is_some();
            match column.codec {
                Some(_) => {
                    quote!(#netabase::typed::derive::encoded_column(#name, #has_default))
                }
                None => {
                    let ty = &column.ty;
                    quote_spanned! {place_of(ty)=>
                        #netabase::typed::derive::column::<#ty>(#name, #has_default)
                    }
                }
            }
        });
        let (table, key, shard_key) = (&model.name, &model.key, model.shard_key);
        let indexes = model
            .indexes
            .iter()
            .map(|(name, columns)| quote!(.with_index(#name, &[#(#columns),*])));
        let options = self.options();
        quote! {
            #netabase::typed::Shape::new(
                #table,
                ::std::vec![#(#columns,)*],
                &[#(#key),*],
                #shard_key,
            )
            #(#indexes)*
            #(#options)*
        }
    }

    fn options(&self) -> Vec<TokenStream> {
        let netabase = &self.netabase;
        let container = &self.model.container;
        let mut options = Vec::new();
        if let Some(given) = &container.shards {
            let shards = given.value;
            options.push(quote!(.with_shards(#shards)));
        }
        if let Some(given) = &container.replicas {
            let replicas = given.value;
            options.push(quote!(.with_replicas(#replicas)));
        }
        if container.local.is_some() {
            options.push(quote!(.with_local()));
        }
        if let Some(given) = &container.ttl_millis {
            let millis = given.value;
            options.push(quote!(.with_ttl_millis(#millis)));
        }
        if let Some(given) = &container.compression {
            let codec = match given.value {
                Compression::Zstd => {
                    quote!(<#netabase::Codec as ::core::default::Default>::default())
                }
                Compression::Lz4 => quote!(#netabase::Codec::Lz4),
                Compression::None => quote!(#netabase::Codec::None),
            };
            options.push(quote!(.with_compression(#codec)));
        }
        options
    }

    fn to_batch(&self) -> TokenStream {
        let netabase = &self.netabase;
        let check_row = self.model.container.validate.as_ref().map(|given| {
            let path = &given.value;
            quote_spanned!(place_of(path)=> writer.check(|row: &Self| #path(row))?;)
        });
        let columns = self.model.columns().enumerate().map(|(at, column)| {
            let (ident, ty) = (&column.ident, &column.ty);
            let check = column.validate.as_ref().map(|path| {
                quote_spanned! {place_of(path)=>
                    writer.check_column(#at, |row: &Self| #path(&row.#ident))?;
                }
            });
            let write = match column.codec {
                Some(codec) => {
                    let codec = codec_path(netabase, codec);
                    quote!(writer.encoded::<#ty>(|row: &Self| &row.#ident, #codec)?;)
                }
                None => quote_spanned! {place_of(ty)=>
                    writer.column::<#ty>(|row: &Self| &row.#ident)?;
                },
            };
            quote!(#check #write)
        });
        quote! {
            fn to_batch(
                rows: &[Self],
            ) -> ::core::result::Result<
                #netabase::arrow::record_batch::RecordBatch,
                #netabase::typed::ConversionError,
            > {
                let mut writer = #netabase::typed::derive::BatchWriter::new(rows);
                #check_row
                #(#columns)*
                writer.finish()
            }
        }
    }

    fn reading(&self) -> TokenStream {
        let netabase = &self.netabase;
        let columns: Vec<&FieldModel> = self.model.columns().collect();
        let names: Vec<Ident> = variables(columns.len());
        let reads = columns
            .iter()
            .zip(&names)
            .enumerate()
            .map(|(at, (column, name))| self.read_column(at, column, name));
        let fields = columns.iter().map(|column| &column.ident);
        let skipped = self.model.fields.iter().filter(|field| field.skip);
        let skipped = skipped.map(skipped_field);
        let check = self.model.container.validate.as_ref().map(|given| {
            let path = &given.value;
            quote_spanned!(place_of(path)=> reader.check(&rows, |row: &Self| #path(row))?;)
        });
        quote! {
            fn from_batch(
                batch: &#netabase::arrow::record_batch::RecordBatch,
            ) -> ::core::result::Result<::std::vec::Vec<Self>, #netabase::typed::ConversionError> {
                let reader = #netabase::typed::derive::BatchReader::new::<Self>(batch)?;
                #(#reads)*
                let mut rows = ::std::vec::Vec::with_capacity(batch.num_rows());
                while let (#(::core::option::Option::Some(#names),)*) = (#(#names.next(),)*) {
                    rows.push(Self {
                        #(#fields: #names,)*
                        #(#skipped,)*
                    });
                }
                #check
                ::core::result::Result::Ok(rows)
            }
        }
    }

    fn read_column(&self, at: usize, column: &FieldModel, name: &Ident) -> TokenStream {
        let ty = &column.ty;
        let fallback = fallback(column);
        let read = match column.codec {
            Some(codec) => {
                let codec = codec_path(&self.netabase, codec);
                quote!(let #name = reader.encoded::<#ty>(#at, #fallback, #codec)?;)
            }
            None => quote_spanned! {place_of(ty)=>
                let #name = reader.column::<#ty>(#at, #fallback)?;
            },
        };
        let check = column.validate.as_ref().map(|path| {
            quote_spanned! {place_of(path)=>
                reader.check_column(#at, &#name, |value: &#ty| #path(value))?;
            }
        });
        quote! {
            #read
            #check
            let mut #name = ::core::iter::IntoIterator::into_iter(#name);
        }
    }
}

impl FieldModel {
    /// What the column holds, to whoever compares with it.
    fn column_type(&self) -> TokenStream {
        let ty = &self.ty;
        match self.codec {
            Some(_) => quote!(::std::vec::Vec<u8>),
            None => quote!(#ty),
        }
    }
}

/// Where something of the user's stands, for code of ours: an error points there, and names are ours
/// still, when the derive stands in a macro and the tokens come from elsewhere.
pub(crate) fn place_of(tokens: &impl Spanned) -> Span {
    Span::call_site().located_at(tokens.span())
}

/// Variables that no expression of the user's can see.
pub(crate) fn variables(count: usize) -> Vec<Ident> {
    (0..count)
        .map(|at| Ident::new(&format!("column{at}"), Span::mixed_site()))
        .collect()
}

/// The value of a field that is no column.
pub(crate) fn skipped_field(field: &FieldModel) -> TokenStream {
    let ident = &field.ident;
    let value = value_of_fallback(field, field.fallback.as_ref().unwrap_or(&Fallback::Trait));
    quote!(#ident: #value)
}

/// `Some(function)` or `None`.
pub(crate) fn fallback(field: &FieldModel) -> TokenStream {
    let ty: &Type = &field.ty;
    match &field.fallback {
        Some(fallback) => {
            let value = value_of_fallback(field, fallback);
            quote!(::core::option::Option::Some((|| -> #ty { #value }) as fn() -> #ty))
        }
        None => quote!(::core::option::Option::None),
    }
}

fn value_of_fallback(field: &FieldModel, fallback: &Fallback) -> TokenStream {
    let (ident, ty) = (&field.ident, &field.ty);
    match fallback {
        Fallback::Trait => {
            quote_spanned!(place_of(ty)=> <#ty as ::core::default::Default>::default())
        }
        Fallback::Function(path) => quote!(#path()),
        Fallback::Expr(expr) => quote!(#expr),
        Fallback::Container(None) => {
            quote!(<Self as ::core::default::Default>::default().#ident)
        }
        Fallback::Container(Some(path)) => quote!(#path().#ident),
    }
}

fn codec_path(netabase: &syn::Path, codec: ValueCodec) -> TokenStream {
    match codec {
        ValueCodec::Bincode => quote!(#netabase::ValueCodec::Bincode),
        ValueCodec::Json => quote!(#netabase::ValueCodec::Json),
        ValueCodec::Cbor => quote!(#netabase::ValueCodec::Cbor),
    }
}

fn one_or_tuple(parts: Vec<TokenStream>) -> TokenStream {
    match parts.as_slice() {
        [one] => one.clone(),
        several => quote!((#(#several),*)),
    }
}
