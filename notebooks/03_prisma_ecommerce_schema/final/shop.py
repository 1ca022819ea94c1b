"""The shop in SQLAlchemy 2.0: tables with their rules, and orders that cannot spoil each other.

    engine = create_engine("postgresql+psycopg://user:password@host/database")
    Base.metadata.create_all(engine)
    with Session(engine) as session, session.begin():
        order_id = place_order(session, user_id, {product_id: quantity})

Tables, names and rules are those of schema.prisma and rules.sql beside this file.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, ClassVar

from sqlalchemy import (
    CheckConstraint,
    ForeignKey,
    Index,
    Numeric,
    Text,
    func,
    select,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import TIMESTAMP
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    Session,
    mapped_column,
    relationship,
    selectinload,
)

MOST = 100  # pieces of one product in an order


class BadOrder(ValueError):
    """What came from outside is not an order."""


class OutOfStock(Exception):
    """A product is not there in that quantity."""


def utc_now() -> datetime:
    """Return the time, with its time zone."""
    return datetime.now(UTC)


def reference(target: str, ondelete: str = "RESTRICT") -> ForeignKey:
    """Return a foreign key as Prisma makes it; "CASCADE": the row goes with the other one."""
    return ForeignKey(f"{target}.id", ondelete=ondelete, onupdate="CASCADE")


def rule(name: str, condition: str) -> CheckConstraint:
    """Return a CHECK constraint."""
    return CheckConstraint(condition, name=name)


NOW = func.current_timestamp()
Key = Annotated[int, mapped_column(primary_key=True)]
Money = Annotated[Decimal, mapped_column(Numeric(10, 2))]
Moment = Annotated[datetime, mapped_column(TIMESTAMP(timezone=True, precision=3))]


class Base(DeclarativeBase):
    type_annotation_map: ClassVar = {str: Text}


class User(Base):
    __tablename__ = "User"

    id: Mapped[Key]
    email: Mapped[str]
    name: Mapped[str]
    created_at: Mapped[Moment] = mapped_column("createdAt", server_default=NOW)
    updated_at: Mapped[Moment] = mapped_column("updatedAt", default=utc_now, onupdate=utc_now)

    orders: Mapped[list[Order]] = relationship(back_populates="user")
    cart: Mapped[Cart | None] = relationship(back_populates="user", passive_deletes=True)

    __table_args__ = (Index("User_email_key", "email", unique=True),)


class Product(Base):
    __tablename__ = "Product"

    id: Mapped[Key]
    name: Mapped[str]
    description: Mapped[str | None]
    price: Mapped[Money]
    stock: Mapped[int] = mapped_column(server_default="0")
    category_id: Mapped[int] = mapped_column("categoryId", reference("Category"))
    created_at: Mapped[Moment] = mapped_column("createdAt", server_default=NOW)
    updated_at: Mapped[Moment] = mapped_column("updatedAt", default=utc_now, onupdate=utc_now)

    category: Mapped[Category] = relationship(back_populates="products")

    __table_args__ = (
        Index("Product_categoryId_idx", "categoryId"),
        Index("Product_name_idx", "name"),
        rule("Product_price_check", "price >= 0"),
        rule("Product_stock_check", "stock >= 0"),
    )


class Category(Base):
    __tablename__ = "Category"

    id: Mapped[Key]
    name: Mapped[str]

    products: Mapped[list[Product]] = relationship(back_populates="category")

    __table_args__ = (Index("Category_name_key", "name", unique=True),)


class Order(Base):
    __tablename__ = "Order"

    id: Mapped[Key]
    user_id: Mapped[int] = mapped_column("userId", reference("User"))
    status: Mapped[str] = mapped_column(server_default="pending")
    total: Mapped[Money]
    created_at: Mapped[Moment] = mapped_column("createdAt", server_default=NOW)

    user: Mapped[User] = relationship(back_populates="orders")
    items: Mapped[list[OrderItem]] = relationship(
        back_populates="order", cascade="all, delete-orphan", passive_deletes=True
    )

    __table_args__ = (
        Index("Order_userId_status_idx", "userId", "status"),
        Index("Order_userId_createdAt_idx", "userId", text('"createdAt" DESC')),
        rule("Order_total_check", "total >= 0"),
    )


class OrderItem(Base):
    __tablename__ = "OrderItem"

    id: Mapped[Key]
    order_id: Mapped[int] = mapped_column("orderId", reference("Order", "CASCADE"))
    product_id: Mapped[int] = mapped_column("productId", reference("Product"))
    quantity: Mapped[int]
    price: Mapped[Money]

    order: Mapped[Order] = relationship(back_populates="items")
    product: Mapped[Product] = relationship()

    __table_args__ = (
        Index("OrderItem_orderId_productId_key", "orderId", "productId", unique=True),
        Index("OrderItem_productId_idx", "productId"),
        rule("OrderItem_quantity_check", f"quantity BETWEEN 1 AND {MOST}"),
        rule("OrderItem_price_check", "price >= 0"),
    )


class Cart(Base):
    __tablename__ = "Cart"

    id: Mapped[Key]
    user_id: Mapped[int] = mapped_column("userId", reference("User", "CASCADE"))

    user: Mapped[User] = relationship(back_populates="cart")
    items: Mapped[list[CartItem]] = relationship(
        back_populates="cart", cascade="all, delete-orphan", passive_deletes=True
    )

    __table_args__ = (Index("Cart_userId_key", "userId", unique=True),)


class CartItem(Base):
    __tablename__ = "CartItem"

    id: Mapped[Key]
    cart_id: Mapped[int] = mapped_column("cartId", reference("Cart", "CASCADE"))
    product_id: Mapped[int] = mapped_column("productId", reference("Product", "CASCADE"))
    quantity: Mapped[int]

    cart: Mapped[Cart] = relationship(back_populates="items")
    product: Mapped[Product] = relationship()

    __table_args__ = (
        Index("CartItem_cartId_productId_key", "cartId", "productId", unique=True),
        Index("CartItem_productId_idx", "productId"),
        rule("CartItem_quantity_check", f"quantity BETWEEN 1 AND {MOST}"),
    )


def get_user_orders(session: Session, user_id: int, take: int = 10) -> list[Order]:
    """Return a user's newest orders, with items and products loaded: three statements."""
    query = (
        select(Order)
        .where(Order.user_id == user_id)
        .order_by(Order.created_at.desc(), Order.id.desc())
        .limit(take)
        .options(selectinload(Order.items).selectinload(OrderItem.product))
    )
    return list(session.scalars(query))


def place_order(session: Session, user_id: int, items: Mapping[int, int]) -> int:
    """Sell {product id: quantity} and return the order's id. The caller commits.

    Raises BadOrder for what is no order, OutOfStock when a product is missing or short.
    Then the caller rolls back: `with session.begin()` does.
    """
    if not items:
        raise BadOrder("an order needs an item")
    for product, quantity in items.items():
        if type(product) is not int or type(quantity) is not int or not 1 <= quantity <= MOST:
            raise BadOrder(f"bad item: product {product!r}, quantity {quantity!r}")
    lines = []
    # Everybody takes products in the same order, so two orders never wait in a circle.
    for product, quantity in sorted(items.items()):
        price = session.scalar(
            update(Product)
            .where(Product.id == product, Product.stock >= quantity)
            .values(stock=Product.stock - quantity)
            .returning(Product.price)
        )
        if price is None:
            raise OutOfStock(f"product {product}: not {quantity} in stock")
        lines.append(OrderItem(product_id=product, quantity=quantity, price=price))
    total = sum((line.price * line.quantity for line in lines), Decimal(0))
    order = Order(user_id=user_id, total=total, items=lines)
    session.add(order)
    session.flush()
    return order.id
