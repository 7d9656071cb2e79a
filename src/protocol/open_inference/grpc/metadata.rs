//! What is declared about a model, as messages.

use super::convert::MessageError;
use super::messages::{ModelMetadataResponse, TensorMetadata};
use crate::protocol::describe::DeclaredModel;
use crate::protocol::open_inference::ModelMetadata;
use crate::protocol::shown::shortened;
use crate::protocol::tensor::{Datatype, TensorSpec};

impl From<&TensorSpec> for TensorMetadata {
    fn from(spec: &TensorSpec) -> Self {
        Self {
            name: spec.name.clone(),
            datatype: spec.datatype.as_str().to_owned(),
            shape: spec.shape.to_vec(),
        }
    }
}

impl From<&ModelMetadata<'_>> for ModelMetadataResponse {
    fn from(metadata: &ModelMetadata<'_>) -> Self {
        Self {
            name: metadata.name.to_owned(),
            versions: metadata.versions.iter().map(|&version| version.to_owned()).collect(),
            platform: metadata.platform.to_owned(),
            inputs: metadata.inputs.iter().map(Into::into).collect(),
            outputs: metadata.outputs.iter().map(Into::into).collect(),
            ..Self::default()
        }
    }
}

impl TryFrom<TensorMetadata> for TensorSpec {
    type Error = MessageError;

    fn try_from(metadata: TensorMetadata) -> Result<Self, MessageError> {
        let Some(datatype) = Datatype::parse(&metadata.datatype) else {
            let (tensor, datatype) = (shortened(&metadata.name), shortened(&metadata.datatype));
            return Err(MessageError::Datatype { tensor, datatype });
        };
        let shape = metadata.shape.into_iter().map(|dim| dim.max(-1)).collect();
        Ok(Self { name: metadata.name, datatype, shape, places: Vec::new(), ordered: true })
    }
}

impl TryFrom<ModelMetadataResponse> for DeclaredModel {
    type Error = MessageError;

    fn try_from(metadata: ModelMetadataResponse) -> Result<Self, MessageError> {
        let specs = |tensors: Vec<TensorMetadata>| {
            tensors.into_iter().map(TensorSpec::try_from).collect::<Result<_, _>>()
        };
        Ok(Self {
            name: metadata.name,
            versions: metadata.versions,
            platform: metadata.platform,
            inputs: specs(metadata.inputs)?,
            outputs: specs(metadata.outputs)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_declared_survives_being_a_message() {
        let spec = |name: &str, datatype, shape: &[i64]| TensorSpec {
            name: name.into(),
            datatype,
            shape: shape.into(),
            places: Vec::new(),
            ordered: true,
        };
        let inputs = [spec("x", Datatype::Fp32, &[-1, 4])];
        let outputs = [spec("y", Datatype::Bytes, &[-1])];
        let metadata = ModelMetadata {
            name: "m",
            versions: &["1", "v2"],
            platform: "p",
            inputs: &inputs,
            outputs: &outputs,
        };
        let message = ModelMetadataResponse::from(&metadata);
        let declared = DeclaredModel::try_from(message.clone()).expect("ours");
        assert_eq!((&*declared.inputs, &*declared.outputs), (&inputs[..], &outputs[..]));
        assert_eq!(declared.versions, ["1", "v2"]);
        let mut unknown = message;
        unknown.inputs[0].datatype = "FP8".into();
        let error = DeclaredModel::try_from(unknown).expect_err("no such datatype");
        assert_eq!(error.to_string(), "tensor 'x' has the unknown datatype 'FP8'");
    }
}
