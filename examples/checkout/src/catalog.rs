//! What the shop sells: fixed, so that the example is about carts and orders.

use serde::Serialize;

/// Something to buy.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Product {
    pub(crate) sku: &'static str,
    pub(crate) name: &'static str,
    pub(crate) price_cents: i64,
}

/// Everything on offer.
pub(crate) const PRODUCTS: &[Product] = &[
    Product { sku: "bread", name: "Sourdough bread", price_cents: 490 },
    Product { sku: "coffee", name: "Coffee beans, 500 g", price_cents: 1_290 },
    Product { sku: "honey", name: "Wildflower honey", price_cents: 780 },
    Product { sku: "kettle", name: "Enamel kettle", price_cents: 4_900 },
    Product { sku: "lamp", name: "Reading lamp", price_cents: 8_950 },
    Product { sku: "mug", name: "Stoneware mug", price_cents: 1_650 },
    Product { sku: "olive-oil", name: "Olive oil, 1 l", price_cents: 1_420 },
    Product { sku: "tea", name: "Green tea, 100 g", price_cents: 860 },
];

/// The product of this sku.
pub(crate) fn find(sku: &str) -> Option<&'static Product> {
    PRODUCTS.iter().find(|product| product.sku == sku)
}

/// What the front page puts first.
pub(crate) fn recommended() -> &'static [Product] {
    &PRODUCTS[..3]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sku_is_found_and_there_once() {
        for product in PRODUCTS {
            assert_eq!(find(product.sku).unwrap().name, product.name);
            assert_eq!(PRODUCTS.iter().filter(|other| other.sku == product.sku).count(), 1);
            assert!(product.price_cents > 0);
        }
        assert!(find("unobtainium").is_none());
    }
}
