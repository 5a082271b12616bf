-- Runs once, when PostgreSQL makes its folder: MLflow keeps runs and versions in a database of its own.
CREATE DATABASE mlflow;
