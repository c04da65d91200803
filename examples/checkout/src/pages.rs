//! The two pages for people: the shop and its operations, each a file of its own, put together once at start.

use std::fmt::Write;

use crate::catalog::PRODUCTS;

/// The storefront.
pub(crate) fn shop() -> String {
    page(include_str!("pages/shop.html"), include_str!("pages/shop.js"))
        .replace("<!--products-->", &products())
}

/// The operations page; it asks for its data itself.
pub(crate) fn ops() -> String {
    page(include_str!("pages/ops.html"), include_str!("pages/ops.js"))
}

fn page(html: &str, script: &str) -> String {
    html.replace("/*style*/", include_str!("pages/style.css")).replace("/*script*/", script)
}

fn products() -> String {
    let mut list = String::new();
    for product in PRODUCTS {
        let (sku, name) = (escaped(product.sku), escaped(product.name));
        let (whole, cents) = (product.price_cents / 100, product.price_cents % 100);
        let _infallible = write!(
            list,
            "\n      <li data-sku=\"{sku}\" data-name=\"{name}\"><span class=\"name\">{name}</span> \
             <span>{whole}.{cents:02} €</span> \
             <input type=\"number\" min=\"1\" max=\"999\" value=\"1\" aria-label=\"Quantity of {name}\"> \
             <button disabled>Add</button></li>"
        );
    }
    list
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_product_is_an_element_of_the_shop() {
        let shop = shop();
        for product in PRODUCTS {
            assert!(shop.contains(&format!("data-sku=\"{}\"", product.sku)), "{}", product.sku);
        }
    }

    #[test]
    fn pages_are_whole() {
        for page in [shop(), ops()] {
            assert!(!page.contains("/*s") && !page.contains("<!--"), "a placeholder is left");
            assert!(page.contains("'use strict'") && page.ends_with("</html>\n"));
        }
    }
}
