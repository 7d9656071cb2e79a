//! The attributes of a node, read with errors that name the culprit.
//!
//! Owns the checks that hold for every operator: the type of an attribute, that none is given twice and
//! that none is left over that the operator does not know (it would change the meaning, as those of a
//! later version do). Never judges values; an operator does that, with [`Attributes::refuse`].
//! Follows `AttributeProto` and `TensorProto` of the ONNX IR
//! (<https://onnx.ai/onnx/repo-docs/IR.html>).

use std::cell::RefCell;

use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::tensor_proto::{DataLocation, DataType};
use tract_onnx::pb::{AttributeProto, NodeProto, TensorProto};
use tract_onnx::prelude::{Tensor, TractError, TractResult, tensor1};

/// The attributes of one node.
#[derive(Debug)]
pub(in crate::inference) struct Attributes<'a> {
    node: &'a NodeProto,
    version: i64,
    /// The names that the operator asked for, which are those that it knows.
    known: RefCell<Vec<&'static str>>,
}

impl<'a> Attributes<'a> {
    /// The attributes of `node`, whose domain the model imports in `version`.
    ///
    /// # Errors
    /// When an attribute is given twice.
    pub(in crate::inference) fn new(node: &'a NodeProto, version: i64) -> TractResult<Self> {
        let attributes = Self { node, version, known: RefCell::default() };
        for (position, attribute) in node.attribute.iter().enumerate() {
            let earlier = node.attribute.iter().take(position);
            if earlier.into_iter().any(|other| other.name == attribute.name) {
                return Err(attributes.refuse(&attribute.name, "is given twice"));
            }
        }
        Ok(attributes)
    }

    /// The version of the operator set that the model asks for.
    pub(in crate::inference) fn version(&self) -> i64 {
        self.version
    }

    /// Whether the attribute is there.
    pub(super) fn has(&self, name: &'static str) -> bool {
        self.find(name).is_some()
    }

    /// A number.
    pub(in crate::inference) fn float(&self, name: &'static str) -> TractResult<Option<f32>> {
        Ok(self.typed(name, AttributeType::Float)?.map(|attribute| attribute.f))
    }

    /// A whole number.
    pub(in crate::inference) fn int(&self, name: &'static str) -> TractResult<Option<i64>> {
        Ok(self.typed(name, AttributeType::Int)?.map(|attribute| attribute.i))
    }

    /// A text.
    pub(in crate::inference) fn text(&self, name: &'static str) -> TractResult<Option<&'a str>> {
        let Some(attribute) = self.typed(name, AttributeType::String)? else { return Ok(None) };
        self.utf8(name, &attribute.s).map(Some)
    }

    /// Numbers; none where the attribute is absent, which ONNX does not tell from an empty list.
    pub(in crate::inference) fn floats(&self, name: &'static str) -> TractResult<&'a [f32]> {
        Ok(self.typed(name, AttributeType::Floats)?.map_or(&[], |attribute| &attribute.floats))
    }

    /// Whole numbers; none where the attribute is absent.
    pub(in crate::inference) fn ints(&self, name: &'static str) -> TractResult<&'a [i64]> {
        Ok(self.typed(name, AttributeType::Ints)?.map_or(&[], |attribute| &attribute.ints))
    }

    /// Texts; none where the attribute is absent.
    pub(in crate::inference) fn texts(&self, name: &'static str) -> TractResult<Vec<String>> {
        let Some(attribute) = self.typed(name, AttributeType::Strings)? else {
            return Ok(Vec::new());
        };
        let text = |bytes: &Vec<u8>| self.utf8(name, bytes).map(str::to_owned);
        attribute.strings.iter().map(text).collect()
    }

    /// Texts as they are in the file, which need not be UTF-8; none where the attribute is absent.
    pub(super) fn bytes(&self, name: &'static str) -> TractResult<&'a [Vec<u8>]> {
        Ok(self.typed(name, AttributeType::Strings)?.map_or(&[], |attribute| &attribute.strings))
    }

    /// The elements of a tensor, whatever its shape, as a tensor of rank 1.
    pub(super) fn tensor(&self, name: &'static str) -> TractResult<Option<Tensor>> {
        let Some(attribute) = self.typed(name, AttributeType::Tensor)? else { return Ok(None) };
        let proto = attribute.t.as_ref().ok_or_else(|| self.refuse(name, "has no tensor in it"))?;
        let tensor = elements(proto).map_err(|reason| self.refuse(name, &reason))?;
        let count = proto.dims.iter().try_fold(1i64, |count, dim| count.checked_mul(*dim));
        if count == i64::try_from(tensor.len()).ok() {
            Ok(Some(tensor))
        } else {
            let shape = &proto.dims;
            let reason = format!("has the shape {shape:?} but {} elements", tensor.len());
            Err(self.refuse(name, &reason))
        }
    }

    /// The error about the attribute `name`: what is wrong with it, as the end of a sentence.
    pub(in crate::inference) fn refuse(&self, name: &str, reason: &str) -> TractError {
        let operator = &self.node.op_type;
        TractError::msg(format!("attribute '{name}' of {operator} '{}' {reason}", self.node_name()))
    }

    /// The error about attributes that do not go together, as a sentence.
    pub(super) fn misfit(&self, reason: &str) -> TractError {
        TractError::msg(format!("{} '{}': {reason}", self.node.op_type, self.node_name()))
    }

    /// Checks, once the operator has read what it knows, that nothing is left.
    ///
    /// # Errors
    /// When there is an attribute that the operator did not ask for.
    pub(super) fn finish(&self) -> TractResult<()> {
        let known = self.known.borrow();
        let unknown = |attribute: &&AttributeProto| !known.contains(&&*attribute.name);
        match self.node.attribute.iter().find(unknown) {
            None => Ok(()),
            Some(attribute) => Err(self.refuse(&attribute.name, "is not one that it has")),
        }
    }

    fn find(&self, name: &'static str) -> Option<&'a AttributeProto> {
        self.known.borrow_mut().push(name);
        self.node.attribute.iter().find(|attribute| attribute.name == name)
    }

    fn typed(
        &self,
        name: &'static str,
        expected: AttributeType,
    ) -> TractResult<Option<&'a AttributeProto>> {
        let Some(attribute) = self.find(name) else { return Ok(None) };
        if attribute.r#type == expected as i32 {
            return Ok(Some(attribute));
        }
        let found = AttributeType::try_from(attribute.r#type)
            .map_or_else(|_unknown| attribute.r#type.to_string(), kind_name);
        Err(self.refuse(name, &format!("is of type {found}, not {}", kind_name(expected))))
    }

    fn utf8(&self, name: &str, bytes: &'a [u8]) -> TractResult<&'a str> {
        std::str::from_utf8(bytes).map_err(|_error| self.refuse(name, "is not UTF-8"))
    }

    fn node_name(&self) -> &'a str {
        match (&*self.node.name, self.node.output.first()) {
            ("", Some(output)) => output,
            (name, _) => name,
        }
    }
}

/// The name of an attribute's type in the specification.
fn kind_name(kind: AttributeType) -> String {
    format!("{kind:?}").to_uppercase()
}

/// The elements of a tensor that is written out in the file.
fn elements(proto: &TensorProto) -> Result<Tensor, String> {
    if proto.data_location == Some(DataLocation::External as i32) {
        return Err("keeps its tensor outside of the model file".to_owned());
    }
    let kind = DataType::try_from(proto.data_type)
        .map_err(|_unknown| format!("has elements of the unknown type {}", proto.data_type))?;
    Ok(match kind {
        DataType::Float => {
            tensor1(&numbers(&proto.raw_data, &proto.float_data, f32::from_le_bytes)?)
        }
        DataType::Double => {
            tensor1(&numbers(&proto.raw_data, &proto.double_data, f64::from_le_bytes)?)
        }
        DataType::Int64 => {
            tensor1(&numbers(&proto.raw_data, &proto.int64_data, i64::from_le_bytes)?)
        }
        DataType::Int32 => {
            tensor1(&numbers(&proto.raw_data, &proto.int32_data, i32::from_le_bytes)?)
        }
        DataType::Int16 => {
            tensor1(&numbers(&proto.raw_data, &narrow(&proto.int32_data)?, i16::from_le_bytes)?)
        }
        DataType::Uint8 => {
            tensor1(&numbers(&proto.raw_data, &narrow(&proto.int32_data)?, u8::from_le_bytes)?)
        }
        DataType::String => {
            let text = |bytes: &Vec<u8>| String::from_utf8(bytes.clone());
            let texts: Result<Vec<String>, _> = proto.string_data.iter().map(text).collect();
            tensor1(&texts.map_err(|_error| "is not UTF-8".to_owned())?)
        }
        kind => return Err(format!("has elements of type {kind:?}, which is not supported here")),
    })
}

/// Numbers from their bytes or, where there are none, from the field of their type.
fn numbers<T: Copy, const SIZE: usize>(
    raw: &[u8],
    typed: &[T],
    parse: fn([u8; SIZE]) -> T,
) -> Result<Vec<T>, String> {
    if raw.is_empty() {
        return Ok(typed.to_vec());
    }
    let (numbers, rest) = raw.as_chunks::<SIZE>();
    if rest.is_empty() {
        Ok(numbers.iter().map(|bytes| parse(*bytes)).collect())
    } else {
        Err(format!("has {} bytes, which is not a multiple of {SIZE}", raw.len()))
    }
}

/// Numbers that the format keeps in a wider field than their own.
fn narrow<T: TryFrom<i32>>(wide: &[i32]) -> Result<Vec<T>, String> {
    let number = |wide: &i32| T::try_from(*wide).map_err(|_error| *wide);
    let numbers: Result<Vec<T>, i32> = wide.iter().map(number).collect();
    numbers.map_err(|wide| format!("has the element {wide}, which its type cannot hold"))
}
