"""Interfaces to the electronic health record: CDS Hooks and FHIR R4."""
