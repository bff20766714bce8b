"""The controllers: what decides which trial comes next, and which stops."""
