"""Generated from core/proto by `make proto`; do not edit."""
