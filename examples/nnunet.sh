# nnU-Net: train and predict with an SCNP trainer. Prepare the data set DATASET (its number or name)
# with nnUNetv2_plan_and_preprocess as always.
set -e

eval "$(python -m scnp_kernels.integrations.nnunet)" # sets nnUNet_extTrainer

TRAINER="${TRAINER:-nnUNetTrainerSCNP}" # or nnUNetTrainerSCNPJoint, ...Paper, ...Fused
CONFIGURATION="${CONFIGURATION:-2d}"
DEVICE="${DEVICE:-cuda}"

nnUNetv2_train "$DATASET" "$CONFIGURATION" 0 -tr "$TRAINER" -device "$DEVICE"
nnUNetv2_predict -d "$DATASET" -c "$CONFIGURATION" -f 0 -tr "$TRAINER" -device "$DEVICE" \
    -i "$INPUT" -o "$OUTPUT"
