-- Who a TensorBoard with an image of its own is at that image's registry.
ALTER TABLE tensorboards ADD COLUMN registry TEXT CHECK (registry IS NULL OR image IS NOT NULL);
