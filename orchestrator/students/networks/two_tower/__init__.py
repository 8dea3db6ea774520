"""Students that embed images (or a teacher's image rows) and a teacher's texts in one space."""
