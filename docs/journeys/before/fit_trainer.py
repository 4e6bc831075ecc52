"""Train a small vision transformer on scikit-learn's digits, with Hugging Face's Trainer."""

from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from transformers import Trainer, TrainingArguments, ViTConfig, ViTForImageClassification


def accuracy(prediction):
    logits, labels = prediction
    return {"accuracy": float((logits.argmax(1) == labels).mean())}


def main():
    images, labels = load_digits(return_X_y=True)
    pixels = images.reshape(-1, 1, 8, 8).astype("float32") / 16
    data = [{"pixel_values": image, "labels": label} for image, label in zip(pixels, labels, strict=True)]
    train_data, val_data = train_test_split(data, test_size=0.2, random_state=0)
    config = ViTConfig(
        image_size=8,
        patch_size=2,
        num_channels=1,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_labels=10,
    )
    arguments = TrainingArguments(
        output_dir="out",
        num_train_epochs=9,
        learning_rate=1e-3,
        weight_decay=0.01,
        per_device_train_batch_size=64,
        per_device_eval_batch_size=512,
        eval_strategy="epoch",
        save_strategy="epoch",
        load_best_model_at_end=True,
        metric_for_best_model="accuracy",
    )
    trainer = Trainer(
        ViTForImageClassification(config),
        arguments,
        train_dataset=train_data,
        eval_dataset=val_data,
        compute_metrics=accuracy,
    )
    trainer.train()
    trainer.save_model("out/best")


if __name__ == "__main__":
    main()
