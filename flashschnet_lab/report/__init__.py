"""A run as one HTML file that needs no network: pictures, tables, and a molecule that moves."""
