"""Code that is only type-checked: the public signatures as users write them."""
